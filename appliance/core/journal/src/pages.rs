//! Pages that were read lately: operations come in the order of directories and files, so one page answers many.
//!
//! A page is named by its content, so what is kept is never out of date, whatever tree is asked for.

use std::cell::RefCell;
use std::sync::Arc;

use model::{ErrorKind, LruCache, Name};
use tree::PageSource;

/// Bytes of pages by name, as many as fit.
#[derive(Debug)]
pub(crate) struct PageCache(RefCell<LruCache<Name, Arc<[u8]>>>);

impl PageCache {
    /// An empty cache of so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self(RefCell::new(LruCache::new(bytes_max)))
    }

    /// Sets how many bytes are kept.
    pub(crate) fn set_bytes_max(&mut self, bytes_max: usize) {
        self.0.get_mut().set_cost_max(bytes_max);
    }

    /// A source behind the cache.
    pub(crate) const fn over<'a, S>(&'a self, source: &'a S) -> Cached<'a, S> {
        Cached { cache: self, source }
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
        if let Some(page) = self.cache.0.borrow_mut().get(name) {
            return Ok(Arc::clone(page));
        }
        let page = self.source.read(name)?;
        self.cache.0.borrow_mut().insert(*name, Arc::clone(&page), page.len());
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
        let mut cache = PageCache::new(1000);
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
        let held = |cache: &PageCache| cache.0.borrow().cost();
        assert_eq!(held(&cache), 1000);
        cache.set_bytes_max(150);
        assert_eq!((held(&cache), read(&cache, 1), read(&cache, 0)), (100, 0, 1));
        cache.set_bytes_max(0);
        assert_eq!((read(&cache, 0), read(&cache, 0), held(&cache)), (1, 1, 0));
    }
}
