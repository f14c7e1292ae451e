//! One of three values in one word: a thin one as it is, or either of two behind a box, told apart by the lowest bits.
//!
//! In: a value and which of the three it is. Out: a view of it. A word without a mark is exactly the thin value, so that
//! the usual small values cost no allocation but their own.

#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// The bits of a mark.
const MARK: usize = 3;
const SECOND: usize = 1;
const THIRD: usize = 2;

/// A type that is one pointer, and nothing but it.
///
/// # Safety
/// It is `repr(transparent)` over a `NonNull<u8>` whose address is a multiple of four.
pub(super) unsafe trait Thin {}

/// One of three values in one word.
///
/// Invariant: without a mark the word is a valid `A`; with the mark `SECOND` or `THIRD` it is the address of a boxed `B`
/// or `C` plus the mark.
#[repr(transparent)]
pub(super) struct OneOf<A: Thin, B, C>(NonNull<u8>, PhantomData<(A, Box<B>, Box<C>)>);

// SAFETY: it owns one of the three, and gives it out by the rules of borrowing.
unsafe impl<A: Thin + Send, B: Send, C: Send> Send for OneOf<A, B, C> {}
// SAFETY: as above.
unsafe impl<A: Thin + Sync, B: Sync, C: Sync> Sync for OneOf<A, B, C> {}

/// Which of the three it is, borrowed or owned.
pub(super) enum Case<A, B, C> {
    First(A),
    Second(B),
    Third(C),
}

impl<A: Thin, B, C> OneOf<A, B, C> {
    const FITS: () = assert!(
        size_of::<A>() == size_of::<NonNull<u8>>()
            && align_of::<B>() > MARK
            && align_of::<C>() > MARK
    );

    /// The thin value.
    #[inline]
    pub(super) fn first(value: A) -> OneOf<A, B, C> {
        let () = OneOf::<A, B, C>::FITS;
        let value = ManuallyDrop::new(value);
        // SAFETY: an `A` is one such pointer; it is not dropped here, so that it has one owner.
        let word = unsafe { (&raw const value).cast::<NonNull<u8>>().read() };
        OneOf(word, PhantomData)
    }

    /// The first of the boxed ones.
    #[inline]
    pub(super) fn second(value: Box<B>) -> OneOf<A, B, C> {
        OneOf::marked(Box::into_raw(value).cast(), SECOND)
    }

    /// The other boxed one.
    #[inline]
    pub(super) fn third(value: Box<C>) -> OneOf<A, B, C> {
        OneOf::marked(Box::into_raw(value).cast(), THIRD)
    }

    #[inline]
    fn marked(address: *mut u8, mark: usize) -> OneOf<A, B, C> {
        let () = OneOf::<A, B, C>::FITS;
        let word = address.map_addr(|address| address | mark);
        // SAFETY: the address of a box is not null, and a mark only adds bits.
        OneOf(unsafe { NonNull::new_unchecked(word) }, PhantomData)
    }

    #[inline]
    fn mark(&self) -> usize {
        self.0.addr().get() & MARK
    }

    #[inline]
    fn address(&self) -> *mut u8 {
        self.0.as_ptr().map_addr(|address| address & !MARK)
    }

    /// The value, to read.
    #[inline]
    pub(super) fn view(&self) -> Case<&A, &B, &C> {
        // SAFETY: the mark says what it is; borrowed no longer than this.
        unsafe {
            match self.mark() {
                0 => Case::First(&*(&raw const self.0).cast::<A>()),
                SECOND => Case::Second(&*self.address().cast::<B>()),
                _ => Case::Third(&*self.address().cast::<C>()),
            }
        }
    }

    /// The value, to change. The thin value may move its allocation: its new pointer is the word then.
    #[inline]
    pub(super) fn view_mut(&mut self) -> Case<&mut A, &mut B, &mut C> {
        // SAFETY: the mark says what it is; borrowed exclusively, no longer than this.
        unsafe {
            match self.mark() {
                0 => Case::First(&mut *(&raw mut self.0).cast::<A>()),
                SECOND => Case::Second(&mut *self.address().cast::<B>()),
                _ => Case::Third(&mut *self.address().cast::<C>()),
            }
        }
    }

    /// The value, to own.
    fn take(self) -> Case<A, Box<B>, Box<C>> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the mark says what it is, and the word is not used again.
        unsafe {
            match this.mark() {
                0 => Case::First((&raw const this.0).cast::<A>().read()),
                SECOND => Case::Second(Box::from_raw(this.address().cast::<B>())),
                _ => Case::Third(Box::from_raw(this.address().cast::<C>())),
            }
        }
    }
}

impl<A: Thin, B, C> Drop for OneOf<A, B, C> {
    fn drop(&mut self) {
        // SAFETY: the copy of the word is the only one that is used from here on.
        let this: OneOf<A, B, C> = OneOf(self.0, PhantomData);
        drop(this.take());
    }
}

impl<A: Thin + Clone, B: Clone, C: Clone> Clone for OneOf<A, B, C> {
    fn clone(&self) -> OneOf<A, B, C> {
        match self.view() {
            Case::First(value) => OneOf::first(value.clone()),
            Case::Second(value) => OneOf::second(Box::new(value.clone())),
            Case::Third(value) => OneOf::third(Box::new(value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structures::listpack::Listpack;
    use std::rc::Rc;

    type Three = OneOf<Listpack, (u64, Rc<()>), Vec<Rc<()>>>;

    #[test]
    fn each_is_what_it_was_and_is_dropped_once() {
        let counted = Rc::new(());
        let mut pack = Listpack::new();
        pack.push_back(b"a");
        let mut all = [
            Three::first(pack),
            Three::second(Box::new((7, Rc::clone(&counted)))),
            Three::third(Box::new(vec![Rc::clone(&counted); 3])),
        ];
        assert_eq!(size_of::<Three>(), 8);
        for one in &mut all {
            match one.view_mut() {
                // So much that its allocation moves.
                Case::First(pack) => (0..1000).for_each(|_| pack.push_back(b"more")),
                Case::Second(pair) => pair.0 += 1,
                Case::Third(all) => all.clear(),
            }
        }
        let copies = all.clone();
        for one in copies.iter().chain(&all) {
            match one.view() {
                Case::First(pack) => assert_eq!(pack.len(), 1001),
                Case::Second(pair) => assert_eq!(pair.0, 8),
                Case::Third(all) => assert!(all.is_empty()),
            }
        }
        assert_eq!(Rc::strong_count(&counted), 3);
        drop((all, copies));
        assert_eq!(Rc::strong_count(&counted), 1);
    }
}
