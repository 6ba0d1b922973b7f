//! Numbers of nodes: 24 bits for the point, 40 for the object.
//!
//! A number is never used for something else, so hard links have one number however often they are looked up, and no
//! table grows with what is looked at. The few things that do not fit have a table.

use std::collections::HashMap;

use model::archive::PointKey;
use model::{MachineId, ObjectId, SourceId};

/// What a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    /// The directory of machines.
    Root,
    /// The directory of a machine's sources.
    Machine(MachineId),
    /// The directory of a source.
    Source(SourceId),
    /// The directory of its points.
    Points(SourceId),
    /// The directory in which moments are looked up.
    At(SourceId),
    /// The link to the newest point.
    Latest(SourceId),
    /// A link from a moment to the point that was there then.
    Moment(PointKey),
    /// An object of a point.
    Object(PointKey, ObjectId),
}

const OBJECT_BITS: u32 = 40;
const OBJECT_MASK: u64 = (1 << OBJECT_BITS) - 1;
/// The largest number of a point.
const SLOT_MAX: u64 = (1 << (64 - OBJECT_BITS)) - 2;

/// The numbers that were given.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// Below slot 1: what is no object, and objects that do not fit.
    others: Vec<Node>,
    by_node: HashMap<Node, u64>,
    /// Point of slot `index + 1`.
    points: Vec<PointKey>,
    by_point: HashMap<PointKey, u64>,
}

impl Numbers {
    /// With the root as number 1.
    pub(crate) fn new() -> Self {
        let mut numbers = Self {
            others: Vec::new(),
            by_node: HashMap::new(),
            points: Vec::new(),
            by_point: HashMap::new(),
        };
        numbers.number(Node::Root);
        numbers
    }

    /// The number of a node.
    pub(crate) fn number(&mut self, node: Node) -> u64 {
        if let Node::Object(point, object) = node
            && object.0 <= OBJECT_MASK
            && let Some(slot) = self.slot(point)
        {
            return slot << OBJECT_BITS | object.0;
        }
        if let Some(known) = self.by_node.get(&node) {
            return *known;
        }
        self.others.push(node);
        let number = self.others.len() as u64;
        self.by_node.insert(node, number);
        number
    }

    fn slot(&mut self, point: PointKey) -> Option<u64> {
        if let Some(known) = self.by_point.get(&point) {
            return Some(*known);
        }
        let slot = self.points.len() as u64 + 1;
        (slot <= SLOT_MAX).then(|| {
            self.points.push(point);
            self.by_point.insert(point, slot);
            slot
        })
    }

    /// What a number stands for, if it was given.
    pub(crate) fn node(&self, number: u64) -> Option<Node> {
        let index = |at: u64| usize::try_from(at.checked_sub(1)?).ok();
        match number >> OBJECT_BITS {
            0 => self.others.get(index(number)?).copied(),
            slot => {
                let point = self.points.get(index(slot)?)?;
                Some(Node::Object(*point, ObjectId(number & OBJECT_MASK)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_and_stay() {
        let mut numbers = Numbers::new();
        let point = |number| PointKey { source: SourceId(3), number };
        let nodes = [
            Node::Root,
            Node::Machine(MachineId(1)),
            Node::Object(point(1), ObjectId(1)),
            Node::Object(point(2), ObjectId(1)),
            Node::Object(point(2), ObjectId(OBJECT_MASK)),
            Node::Object(point(2), ObjectId(OBJECT_MASK + 1)),
            Node::Object(point(2), ObjectId(u64::MAX)),
            Node::Moment(point(2)),
        ];
        let given: Vec<u64> = nodes.iter().map(|node| numbers.number(*node)).collect();
        assert_eq!(given.first(), Some(&1), "the root");
        let mut sorted = given.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), nodes.len());
        for (node, number) in nodes.iter().zip(&given) {
            assert_eq!(numbers.node(*number), Some(*node));
            assert_eq!(numbers.number(*node), *number);
        }
        for unknown in [0, 99, 77 << OBJECT_BITS, u64::MAX] {
            assert_eq!(numbers.node(unknown), None);
        }
    }
}
