//! Names of chunks that a backup has sent, as many as there is room for: the same chunk is sent once.

use std::collections::HashMap;

use model::Name;

/// A bounded memory of names, in two generations: when the younger is full, the older is forgotten.
pub(crate) struct SeenNames {
    young: HashMap<Name, u64>,
    old: HashMap<Name, u64>,
    generation_max: usize,
}

impl SeenNames {
    /// Room for about `names_max` names.
    pub(crate) fn new(names_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation_max: (names_max / 2).max(1) }
    }

    /// The bundle that a chunk was sent in, if that is remembered.
    pub(crate) fn bundle_of(&self, name: &Name) -> Option<u64> {
        self.young.get(name).or_else(|| self.old.get(name)).copied()
    }

    /// Remembers the bundle of a chunk.
    pub(crate) fn insert(&mut self, name: Name, bundle: u64) {
        if self.young.len() >= self.generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, bundle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_names_are_remembered_and_memory_is_bounded() {
        let name = |number: u64| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            Name(bytes)
        };
        let mut seen = SeenNames::new(100);
        for number in 0..1000 {
            seen.insert(name(number), number);
            assert_eq!(seen.bundle_of(&name(number)), Some(number));
            assert!(seen.young.len() + seen.old.len() <= 100);
        }
        assert_eq!(seen.bundle_of(&name(950)), Some(950));
        assert_eq!(seen.bundle_of(&name(0)), None);
    }
}
