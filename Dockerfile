# seawall in a small image. Build: docker build -t seawall .
#
#   docker run --rm -v /backup:/backup -e WALG_FILE_PREFIX=/backup/main seawall backup-list
#
# The build is what scripts/quickstart does: a C compiler and make, `cargo build --release --locked`. Base images of
# one Debian release, so that the C library of the build is that of the image.

FROM docker.io/library/rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin seawall \
    && mkdir -p /image/bin /image/man /image/bash /image/zsh /image/fish \
    && cp target/release/seawall /image/bin/seawall \
    && ln -s seawall /image/bin/wal-g \
    && /image/bin/seawall man > /image/man/seawall.1 \
    && /image/bin/seawall completion bash > /image/bash/seawall \
    && /image/bin/seawall completion zsh > /image/zsh/_seawall \
    && /image/bin/seawall completion fish > /image/fish/seawall.fish

FROM docker.io/library/debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 999 postgres \
    && useradd --system --uid 999 --gid postgres --home-dir /var/lib/postgresql --create-home postgres
# The user has the ids of the official postgres image, whose volumes it can read.
COPY --from=build /image/bin/ /usr/local/bin/
COPY --from=build /image/man/ /usr/local/share/man/man1/
COPY --from=build /image/bash/ /usr/local/share/bash-completion/completions/
COPY --from=build /image/zsh/ /usr/local/share/zsh/site-functions/
COPY --from=build /image/fish/ /usr/local/share/fish/vendor_completions.d/
USER postgres
ENTRYPOINT ["seawall"]
CMD ["--help"]
