//! Hundreds of thousands of random and mutated inputs: nothing panics, and what is accepted keeps the rules.

use model::{MachineId, SequenceNumber};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use wire::conversation::{IN_FLIGHT_MAX, SESSIONS_MAX};
use wire::message::{CREDIT_INITIAL, Request};
use wire::{
    Caller, Conversation, Event, Frame, FrameKind, Limits, Outgoing, Peer, Receiver, Token, operations,
};

use super::arbitrary;

/// xorshift64*: the same inputs in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }

    /// Flips, cuts, repeats or inserts a few bytes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let place = self.below(bytes.len());
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[place] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[place] = [0, 0x7f, 0x80, 0xff, 0x9b, 0x5f][self.below(6)],
                2 => bytes.truncate(place),
                3 => bytes.extend_from_within(place..),
                _ => bytes.insert(place, self.next().to_le_bytes()[0]),
            }
        }
    }
}

/// Encoded samples of a strategy.
fn samples<M: minicbor::Encode<()> + std::fmt::Debug>(
    strategy: impl Strategy<Value = M>,
    count: usize,
) -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| minicbor::to_vec(strategy.new_tree(&mut runner).unwrap().current()).unwrap()).collect()
}

#[test]
fn random_bytes_never_break_a_receiver() {
    let mut random = Random(1);
    for round in 0..500_000 {
        let limits = if round % 2 == 0 { Limits::UNKNOWN } else { Limits::KNOWN };
        let mut receiver = Receiver::new(FrameKind::Request, limits);
        let bytes = random.bytes(64);
        let mut input = &bytes[..];
        while let Ok(Some(_)) = receiver.receive(&mut input) {}
        assert!(receiver.memory() <= 2 * bytes.len());
    }
}

#[test]
fn mutated_streams_never_break_a_receiver() {
    let mut random = Random(2);
    let requests = samples(arbitrary::request(), 200);
    for _ in 0..300_000 {
        let mut receiver = Receiver::new(FrameKind::Request, Limits::KNOWN);
        let body: Request = minicbor::decode(&requests[random.below(requests.len())]).unwrap();
        let mut stream = Outgoing::new(FrameKind::Request, 7, &body, vec![]).unwrap().to_vec();
        random.mutate(&mut stream);
        let size = 1 + random.below(40);
        let mut conversation = Conversation::new(Peer::Agent(MachineId(1)));
        'stream: for mut piece in stream.chunks(size) {
            loop {
                match receiver.receive(&mut piece) {
                    Ok(Some(frame)) => drop(conversation.receive(frame)),
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
    }
}

#[test]
fn mutated_replies_never_break_a_caller() {
    let mut random = Random(3);
    let replies = samples(arbitrary::reply(), 300);
    let mut refused = 0;
    for _ in 0..400_000 {
        let mut caller = Caller::default();
        let id = caller.ask(()).unwrap();
        let mut body = replies[random.below(replies.len())].clone();
        random.mutate(&mut body);
        refused += u32::from(caller.receive(Frame { id, body, bulk: random.bytes(3) }).is_err());
    }
    assert!(refused > 100_000, "mutations do their work: {refused}");
}

#[test]
fn mutated_operations_decode_to_what_they_say_or_not_at_all() {
    let mut random = Random(4);
    let mut runner = TestRunner::deterministic();
    let runs: Vec<_> = (0..100)
        .map(|_| {
            let operations = proptest::collection::vec(arbitrary::operation(), 1..8);
            operations::encode(&operations.new_tree(&mut runner).unwrap().current())
        })
        .collect();
    for _ in 0..300_000 {
        let (count, mut bytes) = runs[random.below(runs.len())].clone();
        random.mutate(&mut bytes);
        if let Ok(operations) = operations::decode(&bytes, count) {
            assert_eq!(operations.len(), count as usize);
            // Whatever is accepted can be written again and is accepted again.
            let (_, again) = operations::encode(&operations);
            assert_eq!(operations::decode(&again, count).unwrap(), operations);
        }
    }
}

#[test]
fn mutated_tokens_are_refused() {
    let mut random = Random(5);
    let token = Token::new(vec!["a:1".into()], wire::Pin([1; 32]), wire::Secret([2; 16])).unwrap();
    let text = token.to_text();
    for _ in 0..100_000 {
        let mut bytes = text.as_bytes().to_vec();
        random.mutate(&mut bytes);
        let mutated = String::from_utf8_lossy(&bytes);
        if let Ok(found) = Token::parse(&mutated) {
            let compact: String = mutated.chars().filter(|c| !c.is_whitespace()).collect();
            assert_eq!(compact.to_ascii_lowercase(), *text, "only the same text is the same token");
            assert_eq!(found, token);
        }
    }
}

/// A peer that talks at random, most of it almost right; the model counts what the rules are about.
#[test]
fn random_conversations_keep_every_rule() {
    let mut random = Random(6);
    let samples = samples(arbitrary::request(), 400);
    for round in 0..20_000u32 {
        let peer = [Peer::Unknown, Peer::Agent(MachineId(1)), Peer::Local][random.below(3)];
        let mut conversation = Conversation::new(peer);
        let mut model = Model::new(peer);
        for _ in 0..60 {
            let frame = model.frame(&mut random, &samples);
            let Ok(event) = conversation.receive(frame) else { break };
            model.accept(&event, round);
            model.act(&mut conversation, &mut random);
        }
    }
}

struct Model {
    peer: Peer,
    greeted: bool,
    waiting: Vec<(u32, bool)>,
    open: Vec<(u64, u64, u64)>,
    begun: u64,
    credit_used: u64,
    credit_held: u64,
    next_id: u32,
}

impl Model {
    fn new(peer: Peer) -> Self {
        let (waiting, open) = (Vec::new(), Vec::new());
        Self { peer, greeted: false, waiting, open, begun: 0, credit_used: 0, credit_held: 0, next_id: 0 }
    }

    fn frame(&mut self, random: &mut Random, samples: &[Vec<u8>]) -> Frame {
        self.next_id += 1;
        let (session, bundle, sequence) = match self.open.get(random.below(self.open.len() + 1)) {
            Some(open) => *open,
            None => (random.next() % 4, 0, 0),
        };
        let request = match random.below(12) {
            0 => Request::Hello { version: 1, software: "r".into() },
            1 | 2 => Request::Begin {
                source: model::record::Label::new("s").unwrap(),
                continuity: None,
                size_bytes: None,
            },
            3 => Request::Have { session, names: vec![] },
            4..=6 => Request::Data { session, number: bundle + 1 },
            7 | 8 => {
                let first = SequenceNumber((sequence + 1).saturating_sub(random.next() % 3).max(1));
                Request::Operations { session, first, count: 1 + random.below(4).try_into().unwrap_or(0) }
            }
            9 if random.below(4) == 0 => Request::Abort { session },
            10 if random.below(4) == 0 => {
                let body = samples[random.below(samples.len())].clone();
                return Frame { id: self.next_id, body, bulk: vec![] };
            }
            _ => Request::Machines,
        };
        let request = if self.greeted || random.below(10) == 0 { request } else { hello() };
        let bulky = matches!(request, Request::Data { .. } | Request::Operations { .. });
        let bulk = if bulky { vec![0; 1 + random.below(2 << 20)] } else { vec![] };
        let id = if bulky { 0 } else { self.next_id };
        Frame { id, body: minicbor::to_vec(&request).unwrap(), bulk }
    }

    /// What came out must be allowed by the rules.
    fn accept(&mut self, event: &Event, round: u32) {
        if !matches!(event, Event::Hello { .. }) {
            assert!(self.greeted, "round {round}: {event:?} before hello");
        }
        match event {
            Event::Hello { id, .. } => {
                assert!(!self.greeted, "round {round}: two greetings");
                self.greeted = true;
                self.waiting.push((*id, false));
            }
            Event::Join { id, .. } => {
                assert_ne!(self.peer, Peer::Local, "round {round}");
                self.waiting.push((*id, false));
            }
            Event::Begin { id, .. } => {
                assert!(matches!(self.peer, Peer::Agent(_)), "round {round}");
                self.waiting.push((*id, true));
                let begins = self.waiting.iter().filter(|(_, begin)| *begin).count();
                assert!(begins + self.open.len() <= SESSIONS_MAX, "round {round}");
            }
            Event::Have { id, session, .. } => {
                assert!(self.open.iter().any(|open| open.0 == *session), "round {round}");
                self.waiting.push((*id, false));
            }
            Event::Finish { id, session, .. } | Event::Abort { id, session } => {
                assert!(self.open.iter().any(|open| open.0 == *session), "round {round}");
                self.open.retain(|open| open.0 != *session);
                self.waiting.push((*id, false));
            }
            Event::Data { session, number, cost, .. } => {
                let open = self.open.iter_mut().find(|open| open.0 == *session).unwrap();
                assert_eq!(open.1 + 1, *number, "round {round}");
                open.1 = *number;
                self.spend(*cost);
            }
            Event::Operations { session, run, cost } => {
                let open = self.open.iter_mut().find(|open| open.0 == *session).unwrap();
                assert_eq!(run.first.0, open.2 + 1, "round {round}: a gap or a repeat");
                open.2 += u64::from(run.new_count());
                self.spend(*cost);
            }
            Event::Late { cost } => self.spend(*cost),
            Event::Read { id, .. } | Event::Refused { id, .. } => {
                assert_ne!(self.peer, Peer::Unknown, "round {round}");
                self.waiting.push((*id, false));
            }
            Event::Admin { id, .. } => {
                assert_eq!(self.peer, Peer::Local, "round {round}");
                self.waiting.push((*id, false));
            }
        }
        assert!(self.waiting.len() <= IN_FLIGHT_MAX, "round {round}");
        assert!(self.credit_used <= CREDIT_INITIAL, "round {round}");
    }

    fn spend(&mut self, cost: u64) {
        self.credit_used += cost;
        self.credit_held += cost;
    }

    /// The appliance answers, fails and gives credit back at random.
    fn act(&mut self, conversation: &mut Conversation, random: &mut Random) {
        if random.below(2) == 0 && !self.waiting.is_empty() {
            let (id, begin) = self.waiting.swap_remove(random.below(self.waiting.len()));
            if begin && random.below(4) > 0 {
                self.begun += 1;
                assert_eq!(conversation.begun(id, SequenceNumber(5)), Some(self.begun));
                self.open.push((self.begun, 0, 5));
            } else {
                assert!(conversation.answered(id));
            }
            assert!(!conversation.answered(id), "an answer is given once");
        }
        if random.below(20) == 0 && !self.open.is_empty() {
            conversation.fail(self.open.swap_remove(0).0);
        }
        if random.below(3) == 0 && self.credit_held > 0 {
            let held = std::mem::take(&mut self.credit_held);
            if let Some(wire::Reply::Credit { bytes }) = conversation.give_back(held) {
                self.credit_used -= bytes;
            }
        }
    }
}

fn hello() -> Request {
    Request::Hello { version: 1, software: "r".into() }
}
