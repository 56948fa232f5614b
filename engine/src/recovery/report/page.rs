//! The page: its sections, in order, and their texts.

use std::fmt::Write as _;

use super::data::IncidentReport;

/// The whole page.
pub(super) fn page(report: &IncidentReport) -> String {
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">");
    let _ = write!(page, "<title>{0}</title></head><body><h1>{0}</h1>", escape(&report.title));
    for fact in &report.facts {
        let _ = write!(page, "<p>{}: {}</p>", escape(&fact.name), escape(&fact.value));
    }
    page.push_str("</body></html>\n");
    page
}

/// Text that cannot be taken for markup.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
