//! Links between the repository's pages lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use leakscope_tests::workspace;

use super::recipes::pages;

/// Lines that are no code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        let parts = line.split("](").skip(1);
        found.extend(parts.filter_map(|part| Some(part.split_once(')')?.0.to_owned())));
    }
    found
}

/// What a page's headings are called in links: lower case, without punctuation, with dashes between words.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Where a link leads, if it leads nowhere.
fn broken(page: &Path, link: &str) -> Result<Option<String>> {
    if link.contains("://") {
        return Ok(None);
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let directory = page.parent().context("a page lies in a directory")?;
    let target = if path.is_empty() { page.to_owned() } else { directory.join(path) };
    if !target.is_file() {
        return Ok(Some(format!("{}: {link}: there is no such file", page.display())));
    }
    let Some(anchor) = anchor else { return Ok(None) };
    let there = anchors(&fs::read_to_string(&target)?);
    Ok((!there.contains(anchor)).then(|| format!("{}: {link}: there is only {there:?}", page.display())))
}

#[test]
fn every_link_leads_somewhere() -> Result<()> {
    let root = ["CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(|name| workspace().join(name));
    let pages: Vec<PathBuf> = pages()?.into_iter().chain(root).collect();
    let (mut count, mut wrong) = (0, Vec::new());
    for page in &pages {
        let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
        for link in links(&text) {
            count += 1;
            wrong.extend(broken(page, &link)?);
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(count > 30, "only {count} links were found");
    Ok(())
}

#[test]
fn a_link_that_leads_nowhere_is_noticed() -> Result<()> {
    let page = workspace().join("README.md");
    for link in ["leakscope/docs/none.md", "leakscope/docs/go.md#none", "#none"] {
        ensure!(broken(&page, link)?.is_some(), "{link} is taken for good");
    }
    for link in ["leakscope/docs/go.md#the-heap", "https://example.org/none", "LICENSE-MIT"] {
        ensure!(broken(&page, link)?.is_none(), "{link} is taken for bad");
    }
    Ok(())
}
