//! The calls and returns of a history in order of time, as a list from which a step can be taken out and put back.

use super::search::Step;

/// The place before the first event.
pub(super) const HEAD: usize = 0;

/// A doubly linked list of events. Place 0 is its head, the last place its tail.
pub(super) struct Line {
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Place → the step that is called there; `None` for a return, the head and the tail.
    calls: Vec<Option<usize>>,
    /// Step → its call's place.
    call: Vec<usize>,
    /// Step → its return's place; 0 if it has none.
    back: Vec<usize>,
}

impl Line {
    /// At one moment calls come before returns: what touches in time is concurrent.
    pub(super) fn new(steps: &[Step]) -> Self {
        let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * steps.len());
        for (step, times) in steps.iter().enumerate() {
            events.push((times.start_ns, false, step));
            events.extend(times.end_ns.map(|end_ns| (end_ns, true, step)));
        }
        events.sort_unstable();
        let tail = events.len() + 1;
        let mut line = Self {
            next: (1..=tail + 1).collect(),
            previous: (0..=tail).map(|place| place.saturating_sub(1)).collect(),
            calls: vec![None; tail + 1],
            call: vec![0; steps.len()],
            back: vec![0; steps.len()],
        };
        for (event, (_, is_return, step)) in events.into_iter().enumerate() {
            let place = event + 1;
            if is_return {
                line.back[step] = place;
            } else {
                line.call[step] = place;
                line.calls[place] = Some(step);
            }
        }
        line
    }

    pub(super) fn next(&self, place: usize) -> usize {
        self.next[place]
    }

    /// The step that is called there, if it may come next: everything that had returned before has its place already.
    pub(super) fn call_at(&self, place: usize) -> Option<usize> {
        self.calls[place]
    }

    pub(super) fn place_of(&self, step: usize) -> usize {
        self.call[step]
    }

    /// Takes a step out. Who stands at its call's place may go on from there.
    pub(super) fn take(&mut self, step: usize) {
        if self.back[step] != 0 {
            self.unlink(self.back[step]);
        }
        self.unlink(self.call[step]);
    }

    /// Puts the step back that was taken last.
    pub(super) fn put_back(&mut self, step: usize) {
        self.relink(self.call[step]);
        if self.back[step] != 0 {
            self.relink(self.back[step]);
        }
    }

    fn unlink(&mut self, place: usize) {
        let (previous, next) = (self.previous[place], self.next[place]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    fn relink(&mut self, place: usize) {
        let (previous, next) = (self.previous[place], self.next[place]);
        self.next[previous] = place;
        self.previous[next] = place;
    }
}
