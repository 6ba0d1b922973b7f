//! The view itself: names, attributes, links, and what is opened.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::archive::{Archive, PointKey, resolve};
use model::item::{FileKind, Inode, Item, ItemKey};
use model::record::{Label, Point};
use model::{EntryName, ObjectId, SourceId, Time, When};

use crate::ViewError;
use crate::directory::{Directory, Listed};
use crate::file::OpenFile;
use crate::loader::Loader;
use crate::node::{Node, Numbers};
use crate::objects::Objects;
use crate::sources::{FRESH, Sources};

/// How a view works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who owns the directories that are in no point.
    pub owner: (u32, u32),
    /// Bytes of content that are kept for later reads; one chunk at least.
    pub cache_bytes: usize,
    /// Threads that fetch ahead of readers.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { owner: (0, 0), cache_bytes: 64 << 20, threads: 2 }
    }
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Its number.
    pub number: u64,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Length in bytes; of a link that of its target.
    pub size: u64,
    /// Bytes of the length that are in no hole.
    pub stored: u64,
    /// Names that it has.
    pub links: u32,
    /// Device number, in the encoding of Linux.
    pub rdev: u64,
    /// When its content changed last.
    pub modified: Time,
    /// When content or metadata changed last.
    pub changed: Time,
}

/// How long an answer is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// As long as the view lives.
    Always,
    /// So long.
    For(Duration),
}

/// A node that was found by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The node.
    pub attributes: Attributes,
    /// How long the name leads there, and the attributes stay.
    pub lasting: Lasting,
}

/// Points as a filesystem.
pub struct View {
    archive: Arc<dyn Archive>,
    now: Box<dyn Fn() -> Time + Send + Sync>,
    options: Options,
    numbers: Mutex<Numbers>,
    sources: Sources,
    objects: Objects,
    loader: Loader,
}

impl View {
    /// A view of everything that an archive shows; `now` is what `5m-ago` counts from.
    pub fn new(
        archive: Arc<dyn Archive>,
        now: impl Fn() -> Time + Send + Sync + 'static,
        options: Options,
    ) -> io::Result<Self> {
        let loader = Loader::start(Arc::clone(&archive), options.threads, options.cache_bytes)?;
        let numbers = Mutex::new(Numbers::new());
        let (sources, objects) = (Sources::default(), Objects::new());
        Ok(Self { archive, now: Box::new(now), options, numbers, sources, objects, loader })
    }

    /// The number of the root.
    pub const ROOT: u64 = 1;

    pub(crate) fn archive(&self) -> &dyn Archive {
        &*self.archive
    }

    pub(crate) const fn loader(&self) -> &Loader {
        &self.loader
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, number: u64) -> Result<Node, ViewError> {
        self.numbers().node(number).ok_or(ViewError::Missing)
    }

    /// The entry of a directory with a name.
    pub fn lookup(&self, directory: u64, name: &[u8]) -> Result<Entry, ViewError> {
        let node = match self.node(directory)? {
            Node::Object(point, object) => self.find_in_point(point, object, name)?,
            Node::Moment(_) | Node::Latest(_) => return Err(ViewError::NotDirectory),
            Node::At(source) => {
                let when = std::str::from_utf8(name).ok().and_then(When::parse).ok_or(ViewError::Missing)?;
                let points = self.points(source)?;
                let point = resolve(&points, &when, (self.now)()).ok_or(ViewError::Missing)?;
                Node::Moment(point.key())
            }
            other => {
                let listed = self.list(other)?.into_iter().find(|(known, ..)| known.as_bytes() == name);
                listed.ok_or(ViewError::Missing)?.1
            }
        };
        let lasting = match node {
            Node::Object(_, ObjectId::ROOT) => Lasting::For(FRESH),
            Node::Object(..) => Lasting::Always,
            Node::Latest(_) | Node::Moment(_) => Lasting::For(Duration::ZERO),
            _ => Lasting::For(FRESH),
        };
        Ok(Entry { attributes: self.describe(node)?, lasting })
    }

    fn find_in_point(&self, point: PointKey, directory: ObjectId, name: &[u8]) -> Result<Node, ViewError> {
        // A name that no directory can have is one that it does not have.
        let name = EntryName::new(name).map_err(|_| ViewError::Missing)?;
        match self.archive.item(point, &ItemKey::entry(directory, name))? {
            Some(Item::Entry(child, _)) => Ok(Node::Object(point, child)),
            Some(_) => Err(ViewError::corrupt("an entry of a directory is something else")),
            None if self.objects.get(self.archive(), point, directory)?.is_directory() => {
                Err(ViewError::Missing)
            }
            None => Err(ViewError::NotDirectory),
        }
    }

    /// What is known of a node, and how long that is good.
    pub fn attributes(&self, number: u64) -> Result<Entry, ViewError> {
        let node = self.node(number)?;
        let lasting = if matches!(node, Node::Object(..)) { Lasting::Always } else { Lasting::For(FRESH) };
        Ok(Entry { attributes: self.describe(node)?, lasting })
    }

    fn describe(&self, node: Node) -> Result<Attributes, ViewError> {
        let number = self.numbers().number(node);
        let (kind, mode, size, time) = match node {
            Node::Object(point, object) => {
                let object = self.objects.get(self.archive(), point, object)?;
                return Ok(of_inode(number, &object.inode));
            }
            Node::Latest(_) | Node::Moment(_) => {
                let (target, point) = self.target_of(node)?;
                (FileKind::Symlink, 0o777, target.len() as u64, point.finished)
            }
            Node::Root | Node::Machine(_) => (FileKind::Directory, 0o555, 0, Time(0)),
            Node::Source(source) | Node::Points(source) | Node::At(source) => {
                let newest = self.points(source)?.last().map_or(Time(0), |point| point.finished);
                (FileKind::Directory, 0o555, 0, newest)
            }
        };
        let (uid, gid) = self.options.owner;
        let (modified, changed) = (time, time);
        Ok(Attributes {
            number,
            kind,
            mode,
            uid,
            gid,
            size,
            stored: size,
            links: 1,
            rdev: 0,
            modified,
            changed,
        })
    }

    /// The target of a symbolic link.
    pub fn target(&self, number: u64) -> Result<Vec<u8>, ViewError> {
        match self.node(number)? {
            Node::Object(point, object) => {
                let object = self.objects.get(self.archive(), point, object)?;
                let attributes = &object.inode.attributes;
                let is_link = attributes.kind == FileKind::Symlink;
                if is_link { Ok(attributes.target.clone()) } else { Err(ViewError::WrongKind) }
            }
            node => Ok(self.target_of(node)?.0),
        }
    }

    /// The target of a link to a point, and the point.
    fn target_of(&self, node: Node) -> Result<(Vec<u8>, Point), ViewError> {
        let (above, source) = match node {
            Node::Latest(source) => ("points", source),
            Node::Moment(point) => ("../points", point.source),
            _ => return Err(ViewError::WrongKind),
        };
        let points = self.points(source)?;
        let point = match node {
            Node::Moment(key) => points.iter().find(|point| point.key() == key),
            _ => points.last(),
        };
        let point = point.ok_or(ViewError::Missing)?;
        Ok((format!("{above}/{}", point.id).into_bytes(), point.clone()))
    }

    fn points(&self, source: SourceId) -> Result<Arc<Vec<Point>>, ViewError> {
        Ok(self.sources.points(self.archive(), source)?)
    }

    /// The entries of a directory that is in no point.
    fn list(&self, node: Node) -> Result<Vec<(EntryName, Node, FileKind)>, ViewError> {
        let directory = |label: &Label, node| Some((label_name(label)?, node, FileKind::Directory));
        let own = |name: &str, node, kind| Some((EntryName::new(name.as_bytes()).ok()?, node, kind));
        let found: Vec<_> = match node {
            Node::Root => {
                let inventory = self.sources.inventory(self.archive())?;
                let machines = inventory.machines.iter();
                machines.filter_map(|m| directory(&m.label, Node::Machine(m.id))).collect()
            }
            Node::Machine(machine) => {
                let inventory = self.sources.inventory(self.archive())?;
                let sources = inventory.sources.iter().filter(|s| s.machine == machine);
                sources.filter_map(|s| directory(&s.label, Node::Source(s.id))).collect()
            }
            Node::Source(source) => {
                let latest = own("latest", Node::Latest(source), FileKind::Symlink);
                [
                    own("at", Node::At(source), FileKind::Directory),
                    latest.filter(|_| self.points(source).is_ok_and(|points| !points.is_empty())),
                    own("points", Node::Points(source), FileKind::Directory),
                ]
                .into_iter()
                .flatten()
                .collect()
            }
            Node::Points(source) => {
                let points = self.points(source)?;
                let root = |point: &Point| Node::Object(point.key(), ObjectId::ROOT);
                points.iter().filter_map(|p| own(&p.id, root(p), FileKind::Directory)).collect()
            }
            // Any moment can be looked up; there is no list of them.
            Node::At(_) => Vec::new(),
            Node::Latest(_) | Node::Moment(_) | Node::Object(..) => return Err(ViewError::NotDirectory),
        };
        Ok(found)
    }

    /// Opens a directory.
    pub fn open_directory(&self, number: u64) -> Result<Directory, ViewError> {
        match self.node(number)? {
            Node::Object(point, object) => {
                if !self.objects.get(self.archive(), point, object)?.is_directory() {
                    return Err(ViewError::NotDirectory);
                }
                Ok(Directory::of_point(point, object))
            }
            node => Ok(Directory::fixed(self.list(node)?)),
        }
    }

    /// The entries of an open directory from a position on; each stands at the position behind the one before it. None
    /// at the end.
    pub fn read_directory(&self, directory: &Directory, position: u64) -> Result<Vec<Listed>, ViewError> {
        let entries = directory.read(self.archive(), position)?;
        let mut numbers = self.numbers();
        let listed = |(name, node, kind): (EntryName, Node, FileKind)| Listed {
            number: numbers.number(node),
            name: name.as_bytes().to_vec(),
            kind,
        };
        Ok(entries.into_iter().map(listed).collect())
    }

    /// Opens a file.
    pub fn open_file(&self, number: u64) -> Result<OpenFile, ViewError> {
        let Node::Object(point, object) = self.node(number)? else { return Err(ViewError::IsDirectory) };
        let found = self.objects.get(self.archive(), point, object)?;
        match found.inode.attributes.kind {
            FileKind::File => Ok(OpenFile::new(point, object, found.inode.size)),
            FileKind::Directory => Err(ViewError::IsDirectory),
            _ => Err(ViewError::WrongKind),
        }
    }

    /// The names of a node's attributes.
    pub fn attribute_names(&self, number: u64) -> Result<Vec<Box<[u8]>>, ViewError> {
        match self.node(number)? {
            Node::Object(point, object) => self.objects.names(self.archive(), point, object),
            _ => Ok(Vec::new()),
        }
    }

    /// An attribute of a node.
    pub fn attribute(&self, number: u64, name: &[u8]) -> Result<Vec<u8>, ViewError> {
        let Node::Object(point, object) = self.node(number)? else { return Err(ViewError::NoAttribute) };
        let names = self.objects.names(self.archive(), point, object)?;
        if !names.iter().any(|known| **known == *name) {
            return Err(ViewError::NoAttribute);
        }
        match self.archive.item(point, &ItemKey::xattr(object, name))? {
            Some(Item::Xattr(value)) => Ok(value),
            Some(_) => Err(ViewError::corrupt("an attribute is something else")),
            None => Err(ViewError::NoAttribute),
        }
    }
}

fn label_name(label: &Label) -> Option<EntryName> {
    EntryName::new(label.as_str().as_bytes()).ok()
}

fn of_inode(number: u64, inode: &Inode) -> Attributes {
    let of = &inode.attributes;
    let target = of.target.len() as u64;
    let is_link = of.kind == FileKind::Symlink;
    let (size, stored) = if is_link { (target, target) } else { (inode.size, inode.stored) };
    Attributes {
        number,
        kind: of.kind,
        mode: of.mode & 0o7777,
        uid: of.uid,
        gid: of.gid,
        size,
        stored,
        // Programs take 1 for "unknown", which for a directory it is.
        links: if of.kind == FileKind::Directory { 1 } else { inode.links },
        rdev: of.rdev,
        modified: of.modified,
        changed: of.changed,
    }
}
