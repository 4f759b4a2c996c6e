//! Boxed tables for people, as wal-g prints them (go-pretty's default style): headers in capitals, columns of
//! numbers flush right, no lines between rows.

/// A column of a boxed table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its header, printed in capitals.
    pub header: &'static str,
    /// Where its cells stand.
    pub align: Align,
}

/// Where the cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers, and what Go prints from numbers: addresses and states.
    Right,
}

/// A column of text.
pub const fn left(header: &'static str) -> Column {
    Column { header, align: Align::Left }
}

/// A column of numbers.
pub const fn right(header: &'static str) -> Column {
    Column { header, align: Align::Right }
}

/// The table with its final line break. Every row has as many cells as there are columns.
pub fn boxed(columns: &[Column], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = columns.iter().map(|column| column.header.to_uppercase()).collect();
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
    rule.push_str("+\n");
    let line = |row: &[String]| {
        let mut line = String::new();
        for ((cell, column), width) in row.iter().zip(columns).zip(&widths) {
            match column.align {
                Align::Left => line.push_str(&format!("| {cell:<width$} ")),
                Align::Right => line.push_str(&format!("| {cell:>width$} ")),
            }
        }
        line + "|\n"
    };
    let mut table = format!("{rule}{}{rule}", line(&header));
    for row in rows {
        table.push_str(&line(row));
    }
    table + &rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_boxed_and_aligned() {
        let rows = [["0", "größer"], ["10", "b"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            boxed(&[right("#"), left("Name")], &rows),
            "+----+--------+\n\
             |  # | NAME   |\n\
             +----+--------+\n\
             |  0 | größer |\n\
             | 10 | b      |\n\
             +----+--------+\n"
        );
    }
}
