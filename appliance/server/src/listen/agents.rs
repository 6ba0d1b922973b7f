//! The agents that are connected: one that is revoked is put out within seconds, and no machine takes the place of
//! the others.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::MachineId;
use tokio::sync::{Notify, watch};

use super::Service;
use super::limits::{CONNECTIONS_PER_MACHINE, SESSIONS_PER_MACHINE};

#[derive(Debug)]
struct Connected {
    key_hash: [u8; 32],
    machine: MachineId,
    shut_out: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Register {
    last: u64,
    connected: HashMap<u64, Connected>,
    /// How many backups of each machine run.
    backups: HashMap<MachineId, usize>,
}

/// The agents that are connected.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    register: Mutex<Register>,
    due: Notify,
}

/// The entry of one connection; gone when dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    agents: Arc<Agents>,
    number: u64,
    shut_out: Arc<Notify>,
}

/// The place of one backup among those of its machine; free when dropped.
#[derive(Debug)]
pub(crate) struct BackupPlace {
    agents: Arc<Agents>,
    machine: MachineId,
}

impl Agents {
    fn lock(&self) -> MutexGuard<'_, Register> {
        // Nothing that is done under the lock panics half-way.
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection of the agent with this key; none if its machine has too many.
    pub(crate) fn enter(self: &Arc<Self>, key_hash: [u8; 32], machine: MachineId) -> Option<Entry> {
        let shut_out = Arc::new(Notify::new());
        let mut register = self.lock();
        let same = register.connected.values().filter(|one| one.machine == machine).count();
        if same >= CONNECTIONS_PER_MACHINE {
            return None;
        }
        register.last += 1;
        let number = register.last;
        register.connected.insert(number, Connected { key_hash, machine, shut_out: Arc::clone(&shut_out) });
        drop(register);
        Some(Entry { agents: Arc::clone(self), number, shut_out })
    }

    /// A place for a backup of a machine; none if it has too many.
    pub(crate) fn begin_backup(self: &Arc<Self>, machine: MachineId) -> Option<BackupPlace> {
        let mut register = self.lock();
        let running = register.backups.entry(machine).or_default();
        if *running >= SESSIONS_PER_MACHINE {
            return None;
        }
        *running += 1;
        drop(register);
        Some(BackupPlace { agents: Arc::clone(self), machine })
    }

    /// Looks all of them up soon, because one may have been revoked.
    pub(crate) fn recheck(&self) {
        self.due.notify_one();
    }

    /// Looks all of them up again and again until the appliance stops.
    pub(crate) async fn watch(
        self: Arc<Self>,
        service: Arc<dyn Service>,
        every: Duration,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = self.due.notified() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let keys: BTreeSet<_> = self.lock().connected.values().map(|one| one.key_hash).collect();
            if keys.is_empty() {
                continue;
            }
            let service = Arc::clone(&service);
            match tokio::task::spawn_blocking(move || look_up(service.as_ref(), keys)).await {
                Ok(found) => self.shut_out_others(&found),
                Err(error) => tracing::error!(%error, "looking agents up has panicked"),
            }
        }
    }

    /// Puts out whose key belongs to no machine any more, or to another one than it came as.
    fn shut_out_others(&self, found: &BTreeMap<[u8; 32], Option<MachineId>>) {
        for one in self.lock().connected.values() {
            if found.get(&one.key_hash).is_some_and(|machine| *machine != Some(one.machine)) {
                one.shut_out.notify_one();
            }
        }
    }
}

/// To which machine each key belongs. A key that cannot be looked up is left out: nobody is put out for that.
fn look_up(service: &dyn Service, keys: BTreeSet<[u8; 32]>) -> BTreeMap<[u8; 32], Option<MachineId>> {
    let mut found = BTreeMap::new();
    let mut failure = None;
    for key in keys {
        match service.authorise(&key) {
            Ok(machine) => {
                found.insert(key, machine.map(|machine| machine.id));
            }
            Err(error) => failure = Some(error),
        }
    }
    if let Some(error) = failure {
        tracing::warn!(%error, "cannot look agents up again; those who are connected stay");
    }
    found
}

impl Entry {
    /// Returns when the agent has been revoked.
    pub(crate) async fn shut_out(&self) {
        self.shut_out.notified().await;
    }
}

impl Drop for BackupPlace {
    fn drop(&mut self) {
        let mut register = self.agents.lock();
        if let MapEntry::Occupied(mut running) = register.backups.entry(self.machine) {
            *running.get_mut() -= 1;
            if *running.get() == 0 {
                running.remove();
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.agents.lock().connected.remove(&self.number);
    }
}
