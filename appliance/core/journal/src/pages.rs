//! Pages that were read lately: operations come in the order of directories and files, so one page answers many.
//!
//! A page is named by its content, so what is kept is never out of date, whatever tree is asked for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use model::{ErrorKind, Name};
use tree::PageSource;

/// Bytes of pages by name, as many as fit.
#[derive(Debug, Default)]
pub(crate) struct PageCache {
    kept: RefCell<Kept>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    pages: BTreeMap<Name, (Arc<[u8]>, u64)>,
    bytes: usize,
    /// Counts uses.
    clock: u64,
}

impl PageCache {
    /// Sets how many bytes are kept.
    pub(crate) fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.kept.get_mut().shrink(bytes_max);
    }

    /// A source behind the cache.
    pub(crate) const fn over<'a, S>(&'a self, source: &'a S) -> Cached<'a, S> {
        Cached { cache: self, source }
    }
}

impl Kept {
    fn get(&mut self, name: &Name) -> Option<Arc<[u8]>> {
        self.clock += 1;
        let (page, used) = self.pages.get_mut(name)?;
        *used = self.clock;
        Some(Arc::clone(page))
    }

    fn put(&mut self, name: Name, page: Arc<[u8]>) {
        self.bytes += page.len();
        if let Some((before, _)) = self.pages.insert(name, (page, self.clock)) {
            self.bytes -= before.len();
        }
    }

    /// Drops what was not used for the longest time. There are not many pages, and only a read of one costs this.
    fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let oldest = self.pages.iter().min_by_key(|(_, (_, used))| *used).map(|(name, _)| *name);
            let Some((page, _)) = oldest.and_then(|name| self.pages.remove(&name)) else { return };
            self.bytes -= page.len();
        }
    }
}

/// A source whose pages are looked for in a cache first.
pub(crate) struct Cached<'a, S> {
    cache: &'a PageCache,
    source: &'a S,
}

impl<S: PageSource> PageSource for Cached<'_, S> {
    type Error = S::Error;

    fn read(&self, name: &Name) -> Result<Arc<[u8]>, S::Error> {
        if let Some(page) = self.cache.kept.borrow_mut().get(name) {
            return Ok(page);
        }
        let page = self.source.read(name)?;
        let mut kept = self.cache.kept.borrow_mut();
        kept.put(*name, Arc::clone(&page));
        kept.shrink(self.cache.bytes_max);
        Ok(page)
    }

    fn kind(error: &S::Error) -> ErrorKind {
        S::kind(error)
    }
}

#[cfg(test)]
mod tests {
    use tree::PageSink;
    use tree::memory::MemoryPages;

    use super::*;

    #[test]
    fn pages_used_lately_are_kept_up_to_their_bytes() {
        let mut source = MemoryPages::new();
        let names: Vec<Name> = (0..20).map(|byte| source.write(vec![byte; 100]).unwrap()).collect();
        let mut cache = PageCache::default();
        cache.set_bytes_max(1000);
        let read = |cache: &PageCache, at: usize| {
            let before = source.reads();
            assert_eq!(*cache.over(&source).read(&names[at]).unwrap(), vec![u8::try_from(at).unwrap(); 100]);
            source.reads() - before
        };
        assert_eq!((0..10).map(|at| read(&cache, at)).sum::<u64>(), 10);
        assert_eq!((0..10).map(|at| read(&cache, at)).sum::<u64>(), 0);
        // The first is used again and again, so it stays while the others go.
        assert_eq!((10..20).map(|at| read(&cache, 0) + read(&cache, at)).sum::<u64>(), 10);
        assert_eq!((read(&cache, 19), read(&cache, 1)), (0, 1));
        let held = |cache: &PageCache| (cache.kept.borrow().bytes, cache.kept.borrow().pages.len());
        assert_eq!(held(&cache), (1000, 10));
        cache.set_bytes_max(150);
        assert_eq!((held(&cache), read(&cache, 1), read(&cache, 0)), ((100, 1), 0, 1));
        cache.set_bytes_max(0);
        assert_eq!((read(&cache, 0), read(&cache, 0), held(&cache)), (1, 1, (0, 0)));
    }
}
