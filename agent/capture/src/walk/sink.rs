//! Gathering steps into tasks of about a bundle each.

use std::sync::Arc;

use crossbeam_channel::Sender;
use model::record::Exception;

use crate::log::Updates;
use crate::task::{Directory, Step, Task};

/// Bytes of files at which a task is full.
const TASK_BYTES: u64 = 1 << 20;
/// Steps at which a task is full.
const TASK_STEPS: usize = 512;
/// Directories that a task may hold open.
const TASK_DIRECTORIES: usize = 32;

/// Takes the steps of a walk and sends them on as tasks.
pub(crate) struct Sink<'a> {
    tasks: &'a Sender<Task>,
    task: Task,
    bytes: u64,
    directories: usize,
    /// The directory of the last file, to count others.
    last: *const Directory,
    pub(crate) first_problem: Option<Exception>,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(tasks: &'a Sender<Task>) -> Self {
        let (task, last) = (Task::default(), std::ptr::null());
        Self { tasks, task, bytes: 0, directories: 0, last, first_problem: None }
    }

    /// Appends a step; waits while the readers have enough to do.
    pub(crate) fn push(&mut self, step: Step) {
        match &step {
            Step::File(job) => {
                self.bytes = self.bytes.saturating_add(job.seen.stamp.size);
                if self.last != Arc::as_ptr(&job.directory) {
                    self.last = Arc::as_ptr(&job.directory);
                    self.directories += 1;
                }
            }
            Step::Problem(problem) if self.first_problem.is_none() => {
                self.first_problem = Some(problem.clone());
            }
            Step::Problem(_) | Step::Operation(_) | Step::Link(_) => {}
        }
        self.task.steps.push(step);
        let is_full = self.bytes >= TASK_BYTES
            || self.task.steps.len() >= TASK_STEPS
            || self.directories >= TASK_DIRECTORIES;
        if is_full {
            self.send();
        }
    }

    /// The updates of the cache that go with the steps.
    pub(crate) fn updates(&mut self) -> &mut Updates {
        &mut self.task.updates
    }

    /// Sends what is left; how many tasks there were.
    pub(crate) fn finish(mut self) -> u64 {
        if !self.task.steps.is_empty() || !self.task.updates.0.is_empty() {
            self.send();
        }
        self.task.ticket
    }

    fn send(&mut self) {
        let ticket = self.task.ticket;
        let task = std::mem::replace(&mut self.task, Task { ticket: ticket + 1, ..Task::default() });
        // Nobody takes it only when the backup has failed, which the walk learns from the halt flag.
        let _ = self.tasks.send(task);
        (self.bytes, self.directories, self.last) = (0, 0, std::ptr::null());
    }
}
