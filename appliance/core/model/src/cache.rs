//! A cache that is bounded by what its values cost, in bytes or in numbers, and drops what was not used for the longest
//! time.
//!
//! What it holds follows from the calls alone: the order of the hash map is never looked at.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Values by key; those that were used lately, as many as the bound allows.
#[derive(Debug)]
pub struct LruCache<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// All keys, by the last use of each.
    order: BTreeMap<u64, K>,
    /// What all values cost together, at most `cost_max`.
    cost: usize,
    cost_max: usize,
    uses: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    cost: usize,
    /// Its place in the order.
    used: u64,
}

impl<K: Clone + Eq + Hash, V> LruCache<K, V> {
    /// An empty cache whose values cost at most `cost_max` together.
    #[must_use]
    pub fn new(cost_max: usize) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), cost: 0, cost_max, uses: 0 }
    }

    /// The value of a key, which is used by that.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        let entry = self.entries.get_mut(key)?;
        self.uses += 1;
        let key = self.order.remove(&entry.used)?;
        self.order.insert(self.uses, key);
        entry.used = self.uses;
        Some(&entry.value)
    }

    /// Whether a key has a value; does not count as use.
    pub fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// What all values cost together.
    #[must_use]
    pub const fn cost(&self) -> usize {
        self.cost
    }

    /// Keeps a value, instead of the one that the key had. Each costs 1 at least; one that costs more than all may is
    /// not kept.
    pub fn insert(&mut self, key: K, value: V, cost: usize) {
        let cost = cost.max(1);
        if let Some(before) = self.entries.remove(&key) {
            self.order.remove(&before.used);
            self.cost -= before.cost;
        }
        let Some(others_max) = self.cost_max.checked_sub(cost) else { return };
        self.shrink(others_max);
        self.uses += 1;
        self.cost += cost;
        self.order.insert(self.uses, key.clone());
        self.entries.insert(key, Entry { value, cost, used: self.uses });
    }

    /// Sets what the values may cost together.
    pub fn set_cost_max(&mut self, cost_max: usize) {
        self.cost_max = cost_max;
        self.shrink(cost_max);
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.shrink(0);
    }

    /// Drops what was not used for the longest time, until the rest costs no more than `cost_max`.
    fn shrink(&mut self, cost_max: usize) {
        while self.cost > cost_max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.cost -= self.entries.remove(&oldest).map_or(0, |dropped| dropped.cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_used_stays_and_the_cost_is_bounded() {
        let mut cache = LruCache::new(100);
        for number in 0..1000 {
            cache.insert(number, number, 10);
            assert_eq!(cache.get(&0), Some(&0), "used in every round");
            assert!(cache.cost() <= 100, "{cache:?}");
        }
        assert!(!cache.contains(&1) && cache.contains(&999));
        cache.insert(999, 7, 10);
        assert_eq!(cache.get(&999), Some(&7), "replaced");
        assert_eq!(cache.cost(), 100);
    }

    #[test]
    fn what_has_no_room_drops_nothing_else() {
        let mut cache = LruCache::new(10);
        cache.insert("small", 1, 4);
        cache.insert("large", 2, 11);
        assert!(cache.contains(&"small") && !cache.contains(&"large"));
        cache.insert("large", 3, 10);
        assert!(!cache.contains(&"small") && cache.contains(&"large"));
        cache.insert("large", 4, usize::MAX);
        assert_eq!(cache.get(&"large"), None, "the value before it counts no longer");
        assert_eq!(cache.cost(), 0);
    }

    #[test]
    fn values_without_a_cost_are_bounded_as_well() {
        let mut cache = LruCache::new(10);
        (0..100).for_each(|number| cache.insert(number, (), 0));
        assert_eq!((cache.entries.len(), cache.cost()), (10, 10));
    }

    #[derive(Clone, Debug)]
    enum Call {
        Get(u8),
        Insert(u8, usize),
        SetCostMax(usize),
        Clear,
    }

    fn calls() -> impl Strategy<Value = Vec<Call>> {
        let call = prop_oneof![
            8 => (0..16u8).prop_map(Call::Get),
            8 => (0..16u8, 1..40usize).prop_map(|(key, cost)| Call::Insert(key, cost)),
            1 => (0..150usize).prop_map(Call::SetCostMax),
            1 => Just(Call::Clear),
        ];
        prop::collection::vec(call, 0..200)
    }

    proptest! {
        #[test]
        fn it_holds_what_a_list_in_order_of_use_holds(calls in calls()) {
            let mut cost_max = 100;
            let mut cache = LruCache::new(cost_max);
            let mut list: Vec<(u8, usize, usize)> = Vec::new();
            for (number, call) in calls.into_iter().enumerate() {
                match call {
                    Call::Get(key) => {
                        let at = list.iter().position(|(other, ..)| *other == key);
                        if let Some(at) = at {
                            list[at..].rotate_left(1);
                        }
                        let expected = at.and_then(|_| list.last()).map(|(_, value, _)| value);
                        prop_assert_eq!(cache.get(&key), expected);
                    }
                    Call::Insert(key, cost) => {
                        list.retain(|(other, ..)| *other != key);
                        if cost <= cost_max {
                            list.push((key, number, cost));
                        }
                        cache.insert(key, number, cost);
                    }
                    Call::SetCostMax(max) => {
                        cost_max = max;
                        cache.set_cost_max(max);
                    }
                    Call::Clear => {
                        list.clear();
                        cache.clear();
                    }
                }
                let cost = |list: &[(u8, usize, usize)]| list.iter().map(|(.., cost)| cost).sum::<usize>();
                while cost(&list) > cost_max {
                    list.remove(0);
                }
                let held: Vec<_> = cache.order.values().map(|key| (*key, cache.entries[key].value)).collect();
                let expected: Vec<_> = list.iter().map(|(key, value, _)| (*key, *value)).collect();
                prop_assert_eq!(held, expected);
                prop_assert_eq!((cache.cost(), cache.entries.len()), (cost(&list), list.len()));
            }
        }
    }
}
