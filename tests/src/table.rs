//! CSV with a head, as Squall writes it.

/// A table in memory.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// One row, read by column.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    head: &'a [String],
    cells: &'a [String],
}

impl Table {
    pub fn read(text: &str) -> Self {
        let mut lines = text.lines().map(cells);
        let head = lines.next().expect("a table has a head");
        let rows: Vec<_> = lines.collect();
        assert!(rows.iter().all(|row| row.len() == head.len()), "every row has {} cells", head.len());
        Self { head, rows }
    }

    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row { head: &self.head, cells })
    }
}

impl<'a> Row<'a> {
    pub fn text(self, column: &str) -> &'a str {
        let place = self.head.iter().position(|name| name == column);
        &self.cells[place.unwrap_or_else(|| panic!("no column `{column}` in {:?}", self.head))]
    }

    pub fn count(self, column: &str) -> u64 {
        self.maybe_count(column).unwrap_or_else(|| panic!("`{column}` is empty"))
    }

    /// `None` for an empty cell.
    pub fn maybe_count(self, column: &str) -> Option<u64> {
        let text = self.text(column);
        let number = || text.parse().unwrap_or_else(|_| panic!("`{column}` is no count: {text}"));
        (!text.is_empty()).then(number)
    }
}

/// RFC 4180 without line breaks inside cells.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => cells.last_mut().expect("one at least").push(other),
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_inside_quotes_part_nothing() {
        let table = Table::read("a,b\n1,\"x, y\"\n,z\n");
        let rows: Vec<_> = table.rows().collect();
        assert_eq!((rows[0].count("a"), rows[0].text("b")), (1, "x, y"));
        assert_eq!(rows[1].maybe_count("a"), None);
    }
}
