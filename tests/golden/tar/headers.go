package main

import (
	"archive/tar"
	"io"
	"os"
	"strings"
	"time"
)

func main() {
	w := tar.NewWriter(os.Stdout)
	base := func(n string) *tar.Header {
		return &tar.Header{Name: n, Mode: 0600, Uid: 999, Uname: "postgres", Gid: 999, Gname: "postgres", ModTime: time.Unix(1790000000, 499999999), AccessTime: time.Unix(5, 6), ChangeTime: time.Unix(7, 8)}
	}
	put := func(h *tar.Header) {
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.CopyN(w, zero{}, h.Size)
		}
	}
	dir := func(n string) { h := base(n); h.Typeflag = tar.TypeDir; put(h) }
	file := func(n string, s int64) { h := base(n); h.Typeflag = tar.TypeReg; h.Size = s; put(h) }
	dir("/")
	dir("/base")
	file("/base/1", 700)
	h := base("/pg_tblspc/16384")
	h.Typeflag = tar.TypeSymlink
	h.Linkname = "/mnt/space"
	put(h)
	h = base("/lnk")
	h.Typeflag = tar.TypeSymlink
	h.Linkname = "/" + strings.Repeat("t", 130)
	put(h)
	h = base("/" + strings.Repeat("d", 60) + "/" + strings.Repeat("f", 80))
	h.Typeflag = tar.TypeSymlink
	h.Linkname = "/" + strings.Repeat("t", 130)
	put(h)
	dir("/" + strings.Repeat("d", 60) + "/" + strings.Repeat("f", 80))
	dir("/base/" + strings.Repeat("f", 120))
	dir("/base/" + strings.Repeat("f", 93) + "/" + strings.Repeat("g", 120))
	dir("/" + strings.Repeat("ab/", 80) + "x")
	file("/"+strings.Repeat("abc/", 50)+strings.Repeat("y", 99), 3)
	file("/"+strings.Repeat("abc/", 30)+strings.Repeat("y", 101), 3)
	file("/"+strings.Repeat("z", 155)+"/"+strings.Repeat("y", 100), 3)
	file("/"+strings.Repeat("z", 154)+"/"+strings.Repeat("y", 100), 3)
	file("/base/größe", 1)
	file("größe/"+strings.Repeat("é", 90)+"/k", 1)
	file("nodirgröße", 1)
	h = base("/x")
	h.Typeflag = tar.TypeReg
	h.Uid = 4294967295
	h.Gid = 2097152
	h.ModTime = time.Unix(-5, 0)
	put(h)
	h = base("/y")
	h.Typeflag = tar.TypeReg
	h.Uid = 2097151
	h.ModTime = time.Unix(-5, 600000000)
	put(h)
	h = base("/y")
	h.Typeflag = tar.TypeReg
	h.Uname = strings.Repeat("u", 33)
	h.Gname = "grüppe"
	put(h)
	h = base("/y")
	h.Typeflag = tar.TypeReg
	h.Uname = strings.Repeat("u", 32)
	h.ModTime = time.Unix(1<<33, 500000000)
	put(h)
	w.Close()
}

type zero struct{}

func (zero) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 7
	}
	return len(b), nil
}
