//! Which parts of a point are wanted.

use std::collections::BTreeMap;

use model::EntryName;

/// The wanted part of a directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Everything below it.
    Whole,
    /// Only these entries; the directory itself is there to hold them.
    Only(BTreeMap<EntryName, Selection>),
}

impl Selection {
    /// The union of subtrees; no path at all means everything.
    pub(crate) fn new(paths: &[Vec<EntryName>]) -> Self {
        if paths.is_empty() {
            return Self::Whole;
        }
        let mut root = Self::Only(BTreeMap::new());
        for path in paths {
            let mut at = &mut root;
            for name in path {
                match at {
                    Self::Whole => break,
                    Self::Only(entries) => {
                        at = entries.entry(name.clone()).or_insert_with(|| Self::Only(BTreeMap::new()));
                    }
                }
            }
            *at = Self::Whole;
        }
        root
    }

    /// The wanted part of an entry.
    pub(crate) fn below(&self, name: &EntryName) -> Option<&Self> {
        match self {
            Self::Whole => Some(self),
            Self::Only(entries) => entries.get(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<EntryName> {
        model::path::split_path(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_subtree_swallows_what_is_below_it() {
        for paths in [["a/b", "a/b/c"], ["a/b/c", "a/b"]] {
            let selection = Selection::new(&paths.map(path));
            let a = selection.below(&path("a")[0]).unwrap();
            assert_eq!(a.below(&path("b")[0]), Some(&Selection::Whole), "{paths:?}");
            assert_eq!(a.below(&path("c")[0]), None, "{paths:?}");
        }
        assert_eq!(Selection::new(&[]), Selection::Whole);
        assert_eq!(Selection::new(&[vec![]]), Selection::Whole);
    }
}
