//! The appliance behind its doors: who may do what, and the pool that does it.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use model::archive::{Archive, ArchiveError};
use model::record::{Label, Machine, RestoreGrant, Source};
use model::{ErrorKind, MachineId, SourceId};
use pool::{Pool, PoolArchive, PoolError, Readings, Scope, Shared};
use wire::{Peer, Reply, Request};

use crate::backup::Session;
use crate::keeping::{Figures, Refusals, Trial};
use crate::listen::{Authority, Backup, Begun, ListenError, Reader, Service};
use crate::rack::Rack;
use crate::storage::Storage;
use crate::{operator, tokens};

/// The setting that holds where agents find the appliance.
const ADDRESSES: &str = "addresses";
/// Sources of one machine: a source cannot be taken away, so an agent must not be able to make them without end.
const SOURCES_MAX: usize = 1000;

/// The appliance.
pub(crate) struct Appliance {
    storage: Arc<Storage>,
    rack: Arc<Rack>,
    authority: OnceLock<Authority>,
    figures: Arc<Figures>,
    refusals: Arc<Refusals>,
}

pub(crate) fn refused(message: impl Into<String>) -> ArchiveError {
    ArchiveError { kind: ErrorKind::Refused, message: message.into() }
}

impl Appliance {
    /// The appliance over a pool.
    pub(crate) fn new(
        storage: Storage,
        rack: Arc<Rack>,
        figures: Arc<Figures>,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self { storage: Arc::new(storage), rack, authority: OnceLock::new(), figures, refusals }
    }

    /// The drives of the pool.
    pub(crate) const fn rack(&self) -> &Arc<Rack> {
        &self.rack
    }

    pub(crate) const fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// What was measured of points.
    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// A source by the names of its machine and of itself.
    pub(crate) fn source_named(&self, machine: &Label, source: &Label) -> Result<SourceId, ArchiveError> {
        let found = self
            .storage
            .shared()
            .registry(|registry| registry.source_named(machine, source).map(|found| found.id));
        found.ok_or_else(|| ArchiveError::missing(format!("the source {machine}/{source}")))
    }

    /// The certificate authority of this appliance, made at its first use.
    pub(crate) fn authority(&self) -> Result<&Authority, ListenError> {
        if let Some(authority) = self.authority.get() {
            return Ok(authority);
        }
        let authority = Authority::load_or_create(self)?;
        Ok(self.authority.get_or_init(|| authority))
    }

    /// Keeps where agents find the appliance, for tokens.
    pub(crate) fn set_addresses(&self, addresses: &[String]) -> Result<(), ArchiveError> {
        if self.addresses()? == addresses {
            return Ok(());
        }
        self.set_setting(ADDRESSES, addresses.join("\n").as_bytes())
    }

    /// Where agents find the appliance.
    pub(crate) fn addresses(&self) -> Result<Vec<String>, ArchiveError> {
        let value = self.setting(ADDRESSES)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&value).lines().map(str::to_owned).collect())
    }
}

/// What a peer reads through.
struct PeerReader {
    storage: Arc<Storage>,
    peer: Peer,
    readings: Arc<Readings>,
}

impl Reader for PeerReader {
    fn archive(&self) -> Arc<dyn Archive> {
        let shared = self.storage.shared();
        let scope = match self.peer {
            Peer::Local => Scope::All,
            Peer::Agent(machine) => scope(shared, machine),
            Peer::Unknown => Scope::Machines(BTreeSet::new()),
        };
        Arc::new(PoolArchive::new(Arc::clone(shared), scope, Arc::clone(&self.readings)))
    }
}

/// The machines that an agent may read.
fn scope(shared: &Shared, machine: MachineId) -> Scope {
    shared.registry(|registry| {
        let agent = registry.machines.get(&machine).and_then(|m| m.agent.as_ref());
        let mut seen = BTreeSet::new();
        match agent.filter(|agent| !agent.revoked).map(|agent| &agent.restore) {
            Some(RestoreGrant::All) => return Scope::All,
            Some(RestoreGrant::Machines(labels)) => {
                seen.insert(machine);
                seen.extend(labels.iter().filter_map(|label| registry.machine(label)).map(|m| m.id));
            }
            Some(RestoreGrant::None) | None => {}
        }
        Scope::Machines(seen)
    })
}

impl Service for Appliance {
    fn authorise(&self, key_hash: &[u8; 32]) -> Result<Option<Machine>, ArchiveError> {
        let holds = |machine: &&Machine| {
            machine.agent.as_ref().is_some_and(|agent| agent.key_hash == key_hash && !agent.revoked)
        };
        Ok(self.storage.shared().registry(|registry| registry.machines.values().find(holds).cloned()))
    }

    fn join(&self, secret: &[u8], key_hash: &[u8; 32], host: &str) -> Result<Label, ArchiveError> {
        let (secret, key_hash) = (secret.to_vec(), key_hash.to_vec());
        let label = self.storage.change(move |pool| tokens::redeem(pool, &secret, &key_hash))?;
        tracing::info!(machine = %label, host = %model::Escaped(host.as_bytes()), "an agent joined");
        Ok(label)
    }

    fn naming_key(&self, machine: &Machine) -> [u8; 32] {
        *self.storage.shared().keys().naming(machine.domain).as_bytes()
    }

    fn reader(&self, peer: &Peer) -> Arc<dyn Reader> {
        let (storage, peer) = (Arc::clone(&self.storage), *peer);
        Arc::new(PeerReader { storage, peer, readings: Arc::default() })
    }

    fn backup(
        &self,
        machine: MachineId,
        source: &Label,
        continuity: Option<&[u8]>,
        size_bytes: Option<u64>,
    ) -> Result<(Begun, Box<dyn Backup>), ArchiveError> {
        let label = source.clone();
        let source = self.storage.change(move |pool| source_of(pool, machine, &label))?;
        self.refusals.check(source.id)?;
        let (storage, refusals) = (Arc::clone(&self.storage), Arc::clone(&self.refusals));
        let trial = Trial::begin(
            &storage,
            &self.figures,
            &refusals,
            source.id,
            size_bytes,
            self.rack.policy().into(),
        )?;
        let (begun, session) = Session::begin(storage, refusals, source, continuity, trial)?;
        Ok((begun, Box::new(session)))
    }

    fn admin(&self, request: Request) -> Result<Reply, ArchiveError> {
        operator::answer(self, request)
    }

    fn software(&self) -> String {
        concat!("keepfast ", env!("CARGO_PKG_VERSION")).to_owned()
    }

    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        Ok(self.storage.shared().registry(|registry| registry.settings.get(name).cloned()))
    }

    fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), ArchiveError> {
        let (name, value) = (name.to_owned(), value.to_vec());
        self.storage.change(move |pool| pool.set_setting(&name, Some(value)))
    }
}

/// A source of a machine; made if there is none, unless the machine has very many.
fn source_of(pool: &mut Pool, machine: MachineId, label: &Label) -> Result<Source, PoolError> {
    let (known, count) = pool.shared().registry(|registry| {
        let all = registry.sources.values().filter(|source| source.machine == machine);
        (registry.source(machine, label).is_some(), all.count())
    });
    if !known && count >= SOURCES_MAX {
        return Err(PoolError::Refused(format!("this machine has {count} sources; no more can be added")));
    }
    pool.add_source(machine, label)
}
