//! The turns in which this process moves frames.
//!
//! The device thread comes here for each event: a kick, frames in the link of a pair, tokens of a limit. It serves one pair in one
//! direction, moves a bounded number of frames, and goes on to the next event, of this device or of another one.

use super::Network;
use super::chain::Direction;
use super::half::Turn;
use super::shared_limit::SharedLimit;
use super::stats::Traffic;
use super::wakes::Wake;
use virtio_bindings::virtio_net::VIRTIO_NET_F_STATUS;

impl Network {
    /// Whether this process moves the frames of a pair now.
    fn serves(&self, pair: usize) -> bool {
        let active = self.active.as_ref();
        !self.paused && active.is_some_and(|active| active.in_kernel == 0 && pair < active.in_use)
    }

    fn limit(&mut self, direction: Direction) -> &mut SharedLimit {
        match direction {
            Direction::Receive => &mut self.receive_limit,
            Direction::Send => &mut self.transmit_limit,
        }
    }

    /// Moves frames of a pair, unless others wait for the limit before it.
    pub(super) fn serve(&mut self, direction: Direction, pair: usize) {
        if self.serves(pair)
            && self.limit(direction).may_try(pair)
            && self.turn(direction, pair) == Turn::Limited
        {
            self.limit(direction).wait(pair);
        }
    }

    /// Those that wait for the limit try again, in the order in which they came, until one is refused at once: a timer runs for it then.
    pub(super) fn tokens_are_back(&mut self, direction: Direction) {
        for _ in 0..self.limit(direction).waiting() {
            let Some(pair) = self.limit(direction).first() else {
                return;
            };
            if !self.serves(pair) {
                continue;
            }
            let before = self.moved(direction, pair);
            if self.turn(direction, pair) != Turn::Limited {
                continue;
            }
            if self.moved(direction, pair) == before {
                self.limit(direction).still_first(pair);
                return;
            }
            self.limit(direction).wait(pair);
        }
        if self.limit(direction).waiting() > 1 {
            // Each had its turn. The timer was set for the last of them; the first may not have to wait as long.
            self.wakes.again();
        }
    }

    fn moved(&self, direction: Direction, pair: usize) -> Option<Traffic> {
        let traffic = self.traffic.get(pair)?;
        Some(match direction {
            Direction::Receive => traffic.received,
            Direction::Send => traffic.sent,
        })
    }

    /// One turn of a pair that this process [serves](Self::serves).
    fn turn(&mut self, direction: Direction, pair: usize) -> Turn {
        let Some(active) = self.active.as_mut() else {
            return Turn::Done;
        };
        let (Some(of), Some(traffic)) = (active.pairs.get_mut(pair), self.traffic.get_mut(pair)) else {
            return Turn::Done;
        };
        let (link, interrupt) = (&mut self.link, &active.interrupt);
        let turn = match direction {
            Direction::Receive => {
                let limit = &mut self.receive_limit.limiter;
                let turn = of.receive.run(link, limit, &mut traffic.received, interrupt);
                of.receive_again = turn == Turn::More;
                turn
            }
            Direction::Send => {
                let limit = &mut self.transmit_limit.limiter;
                let turn = of.transmit.run(link, limit, &mut traffic.sent, interrupt);
                of.transmit_again = turn == Turn::More;
                turn
            }
        };
        if turn == Turn::More {
            self.wakes.again();
        }
        if direction == Direction::Send && (turn == Turn::Full || self.link.has_unsent()) {
            self.wait_for_room(pair, true);
        }
        turn
    }

    fn wait_for_room(&mut self, pair: usize, wait: bool) {
        let Some(descriptor) = self.link.descriptor(pair) else {
            return;
        };
        if self.wakes.when_writable(pair, descriptor, wait).is_err() {
            // Rather a turn too many than a queue that stands still.
            if let Some(of) = self.active.as_mut().and_then(|active| active.pairs.get_mut(pair)) {
                of.transmit_again = true;
            }
            self.wakes.again();
        }
    }

    /// Takes what has woken the device, and does what it says.
    pub(super) fn woken(&mut self) {
        for wake in self.wakes.take() {
            match wake {
                Wake::Again => self.go_on(),
                Wake::Timer => self.reconnect(),
                Wake::Link {
                    pair,
                    readable,
                    writable,
                    hung_up,
                } => {
                    if writable {
                        self.wait_for_room(pair, false);
                        let _errors_have_ended_the_connection = self.link.flush();
                    }
                    if readable {
                        self.serve(Direction::Receive, pair);
                    }
                    if writable {
                        self.serve(Direction::Send, pair);
                    }
                    if hung_up {
                        // What it had sent was read above, as far as the guest had room.
                        self.link.hang_up();
                    }
                }
            }
        }
        self.tell_link();
    }

    /// Gives another turn to whose last one was over before the work was done.
    fn go_on(&mut self) {
        for pair in 0..self.traffic.len() {
            let Some(of) = self.active.as_mut().and_then(|active| active.pairs.get_mut(pair)) else {
                break;
            };
            let (receive, send) = (
                std::mem::take(&mut of.receive_again),
                std::mem::take(&mut of.transmit_again),
            );
            if receive {
                self.serve(Direction::Receive, pair);
            }
            if send {
                self.serve(Direction::Send, pair);
            }
        }
        self.tokens_are_back(Direction::Receive);
        self.tokens_are_back(Direction::Send);
    }

    /// The link has gone, or come back: the driver reads it in the configuration space.
    pub(super) fn tell_link(&mut self) {
        let up = self.link.is_up();
        let Some(active) = self.active.as_mut().filter(|active| active.link_up != up) else {
            return;
        };
        if !self.paused {
            active.link_up = up;
            if active.features & 1 << VIRTIO_NET_F_STATUS != 0 {
                active.interrupt.configuration_changed();
            }
            // What waited for the link to take it is lost now, or may go.
            self.serve_all(Direction::Send);
        }
    }

    fn reconnect(&mut self) {
        if let super::Link::Stream(stream) = &mut self.link
            && let Some(socket) = stream.reconnect()
            && self.wakes.watch(0, socket).is_err()
        {
            stream.disconnect();
        }
    }

    fn serve_all(&mut self, direction: Direction) {
        for pair in 0..self.traffic.len() {
            self.serve(direction, pair);
        }
    }

    /// Does all that there may be to do for the pairs.
    pub(super) fn serve_pairs(&mut self) {
        self.serve_all(Direction::Receive);
        self.serve_all(Direction::Send);
    }

    /// Does all that there may be to do.
    pub(super) fn look_at_everything(&mut self) {
        let _errors_have_ended_the_connection = self.link.flush();
        self.serve_pairs();
        self.serve_control();
        self.tell_link();
    }

    /// Stops in the middle of nothing: what was taken ahead is back in the rings, and nobody waits.
    pub(super) fn rest(&mut self) {
        self.leave_kernel();
        if let Some(active) = &mut self.active {
            for (of, traffic) in active.pairs.iter_mut().zip(&mut self.traffic) {
                of.receive.give_back(&mut traffic.received);
            }
        }
        self.receive_limit.keep(0);
        self.transmit_limit.keep(0);
    }
}
