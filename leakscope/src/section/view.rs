//! How `top` shows a section: as plain data. The screen draws it, and knows no section by name.

use super::stack::Stack;

/// What stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// The number that counts.
    Bold,
    /// What need not be looked at.
    Dim,
    /// What is chosen, or new.
    Accent,
    /// What may be wrong.
    Warn,
}

/// Text of a cell or a line.
pub type Toned = (String, Tone);

/// A cell where nothing is known.
pub(crate) fn dash() -> Toned {
    ("-".to_owned(), Tone::Dim)
}

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A cell of the section's own, by number.
    Own(u8),
    /// Growth a minute of what is tracked.
    PerMinute,
    /// Growth since the user's mark. Without one the column is left out.
    SinceMark,
    /// A small graph of what is tracked.
    History,
}

#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub title: &'static str,
    /// What it shows.
    pub what: What,
    /// Its width; 0 of the last one, which takes the rest.
    pub width: usize,
    /// Whether it is one of numbers, which stand at the right.
    pub number: bool,
    /// It is left out where the screen has fewer columns.
    pub least: usize,
}

/// A column of numbers.
pub(crate) const fn number(title: &'static str, what: What, width: usize, least: usize) -> Column {
    Column { title, what, width, number: true, least }
}

/// A column of text.
pub(crate) const fn text(title: &'static str, what: What, width: usize, least: usize) -> Column {
    Column { title, what, width, number: false, least }
}

/// A section's place on the screen, whether a report has it or not.
#[derive(Clone, Copy, Debug)]
pub struct Tab {
    /// The section's name.
    pub section: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// What is said behind the title if a report does not have it.
    pub none: &'static str,
    /// Whether it is there without the section, too.
    pub always: bool,
    /// Whether it is shown first where the section is there.
    pub leads: bool,
    /// What is tracked from report to report, in bytes: a name for messages. Sites can be sorted and marked by it.
    pub tracks: Option<&'static str>,
    pub columns: &'static [Column],
    /// What stands in the place of rows if there are none.
    pub empty: &'static str,
}

/// A section's type, on the screen or not.
pub trait Tabbed {
    /// Its place there.
    const TAB: Option<&'static Tab>;
}

/// What the screen knows of the report around a section.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// Whether the window goes on.
    pub goes_on: bool,
    /// Whether something of the section's own was lost.
    pub lost: bool,
}

/// A section that is shown.
pub trait Viewed {
    /// What is said behind the tab's title.
    fn count(&self) -> String;

    /// The section in a few words, for the line on top.
    fn figure(&self, around: Around) -> Option<String>;

    /// What must be seen whatever is listed.
    fn alerts(&self) -> Vec<String> {
        Vec::new()
    }

    /// How many sites it has.
    fn len(&self) -> usize;

    /// Whether it has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why it has none, where it knows better than the tab.
    fn why_empty(&self) -> Option<&str> {
        None
    }

    /// What tells a site from the others, from report to report.
    fn id(&self, at: usize) -> &str;

    /// The stack of a site; none where its details say all.
    fn stack(&self, at: usize) -> Option<&Stack>;

    /// Whether a site is listed.
    fn is_listed(&self, _: usize) -> bool {
        true
    }

    /// Whether a site need not be looked at.
    fn is_idle(&self, _: usize) -> bool {
        false
    }

    /// What is tracked of a site.
    fn tracked(&self, _: usize) -> u64 {
        0
    }

    /// A cell of its own of a site.
    fn cell(&self, at: usize, number: u8) -> Toned;

    /// What is known of a site besides its stack. `per_min` is the growth of what is tracked.
    fn details(&self, at: usize, per_min: Option<i64>) -> Vec<Toned>;
}

/// The frame to blame, or the innermost one.
pub(crate) fn blamed(stack: &Stack) -> String {
    stack.shown().map_or_else(|| "(stack not captured)".to_owned(), super::label::short_name)
}
