//! Markup under construction: what comes from outside goes through [`Text`], so that it cannot be taken for markup.

use std::fmt::{self, Write as _};

/// A text, escaped as it is written.
pub(super) struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\'' => formatter.write_str("&#39;")?,
                // No control characters, and nothing that turns the direction of what follows.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => formatter.write_char('\u{fffd}')?,
                control if control.is_control() && control != '\n' && control != '\t' => {
                    formatter.write_char('\u{fffd}')?;
                }
                other => formatter.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// Markup.
#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    /// Adds markup; texts in it are [`Text`]s.
    pub(super) fn put(&mut self, markup: fmt::Arguments<'_>) {
        // A string takes everything.
        let _ = self.0.write_fmt(markup);
    }

    /// Adds markup as it is.
    pub(super) fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// A heading within a section.
    pub(super) fn heading(&mut self, text: &str) {
        self.put(format_args!("<h3>{}</h3>\n", Text(text)));
    }

    /// A paragraph in small print, unless there is nothing to say.
    pub(super) fn note(&mut self, text: &str) {
        if !text.is_empty() {
            self.put(format_args!("<p class=\"note\">{}</p>\n", Text(text)));
        }
    }

    /// What colours mean: of each a class and a word.
    pub(super) fn key(&mut self, entries: &[(&str, &str)]) {
        self.raw("<ul class=\"key\">");
        for (class, word) in entries {
            self.put(format_args!("<li><i class=\"{class}\"></i>{}</li>", Text(word)));
        }
        self.raw("</ul>\n");
    }

    /// Whether there is nothing yet.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// How a column is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// Words, at the left.
    Words,
    /// Numbers, at the right.
    Numbers,
}

/// A table that is wider than the page scrolls by itself.
pub(super) struct Table<'a> {
    html: &'a mut Html,
    columns: Vec<Align>,
}

impl<'a> Table<'a> {
    /// Begins with a caption and the heads of the columns.
    pub(super) fn begin(html: &'a mut Html, caption: &str, columns: &[(&str, Align)]) -> Self {
        html.put(format_args!(
            "<div class=\"scroll\" tabindex=\"0\"><table><caption>{}</caption><thead><tr>",
            Text(caption)
        ));
        for (name, align) in columns {
            html.put(format_args!("<th scope=\"col\"{}>{}</th>", class(*align), Text(name)));
        }
        html.raw("</tr></thead><tbody>\n");
        Self { html, columns: columns.iter().map(|(_, align)| *align).collect() }
    }

    /// A row of texts.
    pub(super) fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        let cells: Vec<String> = cells.iter().map(|cell| Text(cell.as_ref()).to_string()).collect();
        self.markup_row("", &cells);
    }

    /// A row of markup, with a class.
    pub(super) fn markup_row(&mut self, row_class: &str, cells: &[String]) {
        let row_class = if row_class.is_empty() { String::new() } else { format!(" class=\"{row_class}\"") };
        self.html.put(format_args!("<tr{row_class}>"));
        for (number, cell) in cells.iter().enumerate() {
            let align = self.columns.get(number).copied().unwrap_or(Align::Words);
            if number == 0 {
                self.html.put(format_args!("<th scope=\"row\"{}>{cell}</th>", class(align)));
            } else {
                self.html.put(format_args!("<td{}>{cell}</td>", class(align)));
            }
        }
        self.html.raw("</tr>\n");
    }

    /// Ends.
    pub(super) fn end(self) {
        self.html.raw("</tbody></table></div>\n");
    }
}

const fn class(align: Align) -> &'static str {
    match align {
        Align::Words => "",
        Align::Numbers => " class=\"number\"",
    }
}
