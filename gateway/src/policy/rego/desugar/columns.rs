//! The way back from the plain spelling's columns.

/// Leads from a column of the plain text back to the one that was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Columns(pub(super) Vec<Shift>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shift {
    pub(super) line: u32,
    /// First column, from 1, of the changed part and of what follows it.
    pub(super) from: u32,
    /// The column it had.
    pub(super) was: u32,
    /// Whether every column of the part stands for `was`.
    pub(super) is_flat: bool,
}

impl Columns {
    /// The column as written; both count characters from 1.
    pub fn written(&self, line: u32, column: u32) -> u32 {
        let last = self.0.iter().rfind(|shift| shift.line == line && shift.from <= column);
        last.map_or(column, |shift| match shift.is_flat {
            true => shift.was,
            false => shift.was.saturating_add(column.saturating_sub(shift.from)),
        })
    }

    /// Whether nothing moved.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
