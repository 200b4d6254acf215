//! Text and tables as HTML.

use std::fmt::Write as _;

use super::grid::Grid;
use super::page::Paint;
use crate::human::sanitize_for_files;

/// Text as it may stand in an element or in an attribute in double quotes, whatever it says.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in sanitize_for_files(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// What goes before and after text that stands out.
pub(crate) const fn tags(paint: Paint) -> Option<(&'static str, &'static str)> {
    Some(match paint {
        Paint::Plain => return None,
        Paint::Bold => ("<b>", "</b>"),
        Paint::Accent => ("<span class=\"accent\">", "</span>"),
        Paint::Warn => ("<span class=\"warn\">", "</span>"),
        Paint::Alarm => ("<span class=\"alarm\">", "</span>"),
        Paint::Dim => ("<span class=\"dim\">", "</span>"),
    })
}

/// All columns and rows, in one line.
pub(crate) fn table(grid: &Grid) -> String {
    let mut out = String::from("<table><thead><tr>");
    let class = |column: usize| if grid.columns[column].is_text() { "" } else { " class=\"n\"" };
    for (at, column) in grid.columns.iter().enumerate() {
        let _ = write!(out, "<th{}>{}</th>", class(at), escaped(column.title));
    }
    out.push_str("</tr></thead><tbody>");
    for (at, row) in grid.rows.iter().enumerate() {
        if let Some((_, text)) = grid.parted.filter(|(first, _)| *first == at) {
            let columns = grid.columns.len();
            let _ = write!(out, "<tr class=\"part\"><td colspan=\"{columns}\">{}</td></tr>", escaped(text));
        }
        let (on, off) = tags(row.paint).unwrap_or_default();
        out.push_str("<tr>");
        for (at, cell) in row.cells.iter().enumerate().take(grid.columns.len()) {
            let _ = write!(out, "<td{}>{on}{}{off}</td>", class(at), escaped(cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::grid::{Row, number, text};

    #[test]
    fn nothing_of_a_text_is_markup() {
        assert_eq!(
            escaped("a<b> & \"c\" 'd'\x1b\u{ffff}"),
            "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn a_table_has_all_of_its_columns() {
        let row =
            |cells: &[&str], paint| Row { cells: cells.iter().map(ToString::to_string).collect(), paint };
        let grid = Grid {
            columns: vec![number("#", 0), text("in", 1)],
            rows: vec![row(&["1", "<f>"], Paint::Bold), row(&["2", "g"], Paint::Plain)],
            parted: Some((1, "idle")),
        };
        assert_eq!(
            table(&grid),
            "<table><thead><tr><th class=\"n\">#</th><th>in</th></tr></thead><tbody>\
             <tr><td class=\"n\"><b>1</b></td><td><b>&lt;f&gt;</b></td></tr>\
             <tr class=\"part\"><td colspan=\"2\">idle</td></tr>\
             <tr><td class=\"n\">2</td><td>g</td></tr></tbody></table>"
        );
    }
}
