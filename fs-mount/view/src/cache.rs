//! A bounded map that forgets what was not asked for lately.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// Two generations: what is used moves into the younger one; when that has half the room, the older one goes.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    young_cost: usize,
    generation_cost: usize,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// A map whose values cost at most `cost` together, apart from the last one.
    pub(crate) fn new(cost: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_cost: 0, generation_cost: cost / 2 }
    }

    /// Whether a value is there; does not count as use.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.young.contains_key(key) || self.old.contains_key(key)
    }

    /// The value of a key.
    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, (value, cost)) = self.old.remove_entry(key)?;
        self.insert(key, value.clone(), cost);
        Some(value)
    }

    /// Keeps a value that costs so much.
    pub(crate) fn insert(&mut self, key: K, value: V, cost: usize) {
        self.old.remove(&key);
        if let Some((_, before)) = self.young.insert(key, (value, cost)) {
            self.young_cost -= before;
        }
        self.young_cost += cost;
        if self.young_cost >= self.generation_cost {
            self.old = mem::take(&mut self.young);
            self.young_cost = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_cost_is_bounded() {
        let mut cache = Cache::new(100);
        for number in 0..1000 {
            cache.insert(number, number, 10);
            assert_eq!(cache.get(&0), Some(0), "used in every round");
            assert!(cache.young.len() + cache.old.len() <= 11, "{cache:?}");
        }
        assert!(!cache.contains(&1) && cache.contains(&999));
        cache.insert(999, 7, 10);
        assert_eq!(cache.get(&999), Some(7), "replaced");
    }
}
