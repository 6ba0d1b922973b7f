//! Names of files that all members of their class have.

use std::sync::Arc;

use medium::{Access, DiskError, File};

use crate::file::SetFile;
use crate::layout::Class;
use crate::marks::mark_name;
use crate::set::Shared;

impl Shared {
    /// Makes a file on all members of its class.
    pub(crate) fn create_mirrored(
        self: &Arc<Self>,
        class: Class,
        path: &str,
    ) -> Result<Arc<dyn File>, DiskError> {
        let members = self.members_of(class);
        if let Some(name) = mark_name(class) {
            self.mark_on(&name, &members)?;
        }
        let mut made = Vec::new();
        let result = self.on_each(&members, |member| {
            let file = member.disk.create(path)?;
            made.push((member.index, file.clone()));
            Ok(file)
        });
        match result {
            Ok(files) => {
                let holders = files.iter().map(|(member, _)| member.clone()).collect();
                let node = self.node_at(class, path, holders);
                Ok(Arc::new(SetFile::new(self, node, path, Access::ReadWrite, files)))
            }
            Err(error) => {
                for member in
                    members.iter().filter(|member| made.iter().any(|(index, _)| *index == member.index))
                {
                    let _ = member.disk.remove(path);
                }
                Err(error)
            }
        }
    }

    /// Gives a file another name on all members of its class.
    pub(crate) fn rename_mirrored(&self, class: Class, from: &str, to: &str) -> Result<(), DiskError> {
        let members = self.members_of(class);
        if let Some(name) = mark_name(class) {
            self.mark_on(&name, &members)?;
        }
        self.on_each(&members, |member| member.disk.rename(from, to))?;
        if from == to {
            return Ok(());
        }
        self.forget_path(to);
        let node = self.state().nodes.remove(from);
        if let Some(node) = node.and_then(|node| node.upgrade()) {
            node.state().path = to.to_owned();
            self.state().nodes.insert(to.to_owned(), Arc::downgrade(&node));
        }
        self.state().closed.insert(to.to_owned());
        Ok(())
    }
}
