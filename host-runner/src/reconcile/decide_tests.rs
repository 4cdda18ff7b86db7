//! What the state machine promises, for a few stories and for every story.

use api::StopInstance;
use proptest::prelude::*;

use super::*;

const NOW: Duration = Duration::from_secs(1_000);

fn intent(run: u32) -> Intent {
    Intent {
        wanted_running: run > 0,
        run,
        stop: StopInstance::graceful(),
        deleting: false,
    }
}

fn seen(guest: Guest) -> Seen {
    Seen {
        files_ready: true,
        guest,
        launch: None,
        failed: false,
        stop: StopSoFar::default(),
        resets: ResetStreak::default(),
    }
}

fn launched(run: u32) -> LastLaunch {
    LastLaunch {
        run,
        same_boot: true,
        spawned: true,
        end: GuestEnd::Unknown,
    }
}

fn answer(intent: &Intent, seen: &Seen) -> (RunState, Step) {
    let decision = decide(intent, seen, NOW);
    (decision.state, decision.step)
}

#[test]
fn a_new_instance_gets_its_files_and_then_its_guest() {
    let fresh = Seen {
        files_ready: false,
        ..seen(Guest::Absent)
    };
    assert_eq!(answer(&intent(1), &fresh), (RunState::Creating, Step::MakeFiles));
    assert_eq!(
        answer(&intent(1), &seen(Guest::Absent)),
        (RunState::Starting, Step::Launch)
    );
    let held = Seen {
        launch: Some(launched(1)),
        ..seen(Guest::Alive(GuestStatus::Held))
    };
    assert_eq!(answer(&intent(1), &held), (RunState::Starting, Step::PowerOn));
}

#[test]
fn a_guest_that_is_meant_to_run_is_left_alone_even_when_it_is_silent() {
    for (status, state) in [
        (GuestStatus::Running, RunState::Running),
        (GuestStatus::Paused, RunState::Paused),
        (GuestStatus::Silent, RunState::Running),
    ] {
        let alive = Seen {
            launch: Some(launched(1)),
            ..seen(Guest::Alive(status))
        };
        assert_eq!(answer(&intent(1), &alive), (state, Step::Rest));
    }
}

#[test]
fn a_guest_that_powered_itself_off_is_not_started_again() {
    let off = Seen {
        launch: Some(launched(1)),
        ..seen(Guest::Alive(GuestStatus::PoweredOff))
    };
    assert_eq!(answer(&intent(1), &off), (RunState::Stopping, Step::NotePowerOff));
}

#[test]
fn a_guest_that_is_gone_in_the_same_boot_has_failed() {
    let gone = Seen {
        launch: Some(launched(1)),
        ..seen(Guest::Absent)
    };
    assert_eq!(answer(&intent(1), &gone), (RunState::Failed, Step::NoteFailure));
}

#[test]
fn a_guest_that_is_gone_with_the_hosts_reboot_is_started_again() {
    let rebooted = Seen {
        launch: Some(LastLaunch {
            run: 1,
            same_boot: false,
            spawned: true,
            end: GuestEnd::Unknown,
        }),
        ..seen(Guest::Absent)
    };
    assert_eq!(answer(&intent(1), &rebooted), (RunState::Starting, Step::Launch));
    assert_eq!(answer(&intent(0), &rebooted), (RunState::Stopped, Step::Rest));
}

#[test]
fn a_guest_whose_engine_ended_with_it_failed_only_where_nothing_else_is_known() {
    for (end, expected) in [
        (GuestEnd::Unknown, (RunState::Failed, Step::NoteFailure)),
        (GuestEnd::PoweredOff, (RunState::Stopping, Step::NotePowerOff)),
        (GuestEnd::Reset, (RunState::Starting, Step::Launch)),
    ] {
        let gone = Seen {
            launch: Some(LastLaunch { end, ..launched(1) }),
            ..seen(Guest::Absent)
        };
        assert_eq!(answer(&intent(1), &gone), expected, "{end:?}");
        let not_wanted = Intent {
            wanted_running: false,
            ..intent(1)
        };
        assert_eq!(
            answer(&not_wanted, &gone),
            (RunState::Stopped, Step::Rest),
            "{end:?}"
        );
    }
}

#[test]
fn a_guest_that_only_ever_resets_itself_is_waited_for_and_then_given_up() {
    let mut gone = Seen {
        launch: Some(LastLaunch {
            end: GuestEnd::Reset,
            ..launched(1)
        }),
        ..seen(Guest::Absent)
    };
    let reset = |seen: &mut Seen, at| seen.resets.add(1, Some(Duration::from_secs(1)), at);
    let mut now = Duration::ZERO;
    for _ in 0..3 {
        now += Duration::from_secs(1);
        reset(&mut gone, now);
    }
    let waiting = decide(&intent(1), &gone, now);
    assert_eq!((waiting.state, waiting.step), (RunState::Starting, Step::Rest));
    assert_eq!(waiting.look_again, Duration::from_secs(1));
    let over = decide(&intent(1), &gone, now + waiting.look_again);
    assert_eq!((over.state, over.step), (RunState::Starting, Step::Launch));
    for _ in 0..5 {
        reset(&mut gone, now);
    }
    let given_up = decide(&intent(1), &gone, now);
    assert_eq!(
        (given_up.state, given_up.step),
        (RunState::Failed, Step::NoteFailure)
    );
    // Whoever starts it again gets another try.
    let again = decide(&intent(2), &gone, now);
    assert_eq!((again.state, again.step), (RunState::Starting, Step::Launch));
}

#[test]
fn a_launch_that_was_written_down_and_never_made_is_made() {
    let unmade = Seen {
        launch: Some(LastLaunch {
            run: 1,
            same_boot: true,
            spawned: false,
            end: GuestEnd::Unknown,
        }),
        ..seen(Guest::Absent)
    };
    assert_eq!(answer(&intent(1), &unmade), (RunState::Starting, Step::Launch));
}

#[test]
fn a_restart_stops_the_old_guest_before_it_makes_the_new_one() {
    let old = Seen {
        launch: Some(launched(1)),
        ..seen(Guest::Alive(GuestStatus::Running))
    };
    assert_eq!(answer(&intent(2), &old), (RunState::Stopping, Step::PressPower));
    let gone = Seen {
        guest: Guest::Absent,
        ..old
    };
    assert_eq!(answer(&intent(2), &gone), (RunState::Starting, Step::Launch));
}

#[test]
fn a_stop_presses_waits_presses_again_quits_and_kills() {
    let meant = Intent {
        wanted_running: false,
        ..intent(1)
    };
    let at = |pressed: Option<u64>, asked: Option<u64>, quit: Option<u64>| {
        let ago = |seconds: u64| NOW.saturating_sub(Duration::from_secs(seconds));
        let seen = Seen {
            launch: Some(launched(1)),
            stop: StopSoFar {
                asked_at: asked.map(ago),
                pressed_at: pressed.map(ago),
                quit_at: quit.map(ago),
                killed_at: None,
            },
            ..seen(Guest::Alive(GuestStatus::Running))
        };
        decide(&meant, &seen, NOW)
    };
    assert_eq!(at(None, None, None).step, Step::PressPower);
    let waiting = at(Some(4), Some(4), None);
    assert_eq!(
        (waiting.step, waiting.look_again),
        (Step::Rest, Duration::from_secs(6))
    );
    assert_eq!(at(Some(10), Some(10), None).step, Step::PressPower);
    let nearly = at(Some(1), Some(59), None);
    assert_eq!(
        (nearly.step, nearly.look_again),
        (Step::Rest, Duration::from_secs(1))
    );
    assert_eq!(at(Some(1), Some(60), None).step, Step::Quit);
    assert_eq!(at(Some(1), Some(62), Some(2)).step, Step::Rest);
    assert_eq!(at(Some(1), Some(66), Some(6)).step, Step::Kill);
}

#[test]
fn force_kills_at_once_and_so_does_a_delete() {
    let alive = seen(Guest::Alive(GuestStatus::Running));
    let forced = Intent {
        wanted_running: false,
        stop: StopInstance::force(),
        ..intent(1)
    };
    assert_eq!(answer(&forced, &alive), (RunState::Stopping, Step::Kill));
    let deleting = Intent {
        deleting: true,
        ..intent(1)
    };
    assert_eq!(answer(&deleting, &alive), (RunState::Deleting, Step::Kill));
    assert_eq!(
        answer(&deleting, &seen(Guest::Absent)),
        (RunState::Deleting, Step::Remove)
    );
}

/// A small machine that takes steps, for stories of any length.
#[derive(Debug, Clone)]
struct Sim {
    intent: Intent,
    seen: Seen,
    now: Duration,
    removed: bool,
    /// Whether the guest heeds the power button, and its engine an order to end.
    obedient: bool,
    launches_of_run: std::collections::BTreeMap<(u32, u32), u32>,
    boot: u32,
    launch_boot: u32,
}

#[derive(Debug, Clone)]
enum Happening {
    Start,
    Stop(StopMode),
    Restart,
    Delete,
    GuestCrashes,
    GuestPowersOff,
    GuestHangs,
    AgentRestarts,
    AgentDiesBeforeSpawning,
    HostReboots,
    TimePasses(u16),
    Passes(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        Just(Happening::Start),
        Just(Happening::Stop(StopMode::Graceful)),
        Just(Happening::Stop(StopMode::Force)),
        Just(Happening::Restart),
        Just(Happening::Delete),
        Just(Happening::GuestCrashes),
        Just(Happening::GuestPowersOff),
        Just(Happening::GuestHangs),
        Just(Happening::AgentRestarts),
        Just(Happening::AgentDiesBeforeSpawning),
        Just(Happening::HostReboots),
        (0_u16..200).prop_map(Happening::TimePasses),
        (0_u8..5).prop_map(Happening::Passes),
    ]
}

impl Sim {
    fn new(start: bool, obedient: bool) -> Self {
        Self {
            intent: intent(u32::from(start)),
            seen: Seen {
                files_ready: false,
                ..seen(Guest::Absent)
            },
            now: Duration::ZERO,
            removed: false,
            obedient,
            launches_of_run: std::collections::BTreeMap::new(),
            boot: 0,
            launch_boot: 0,
        }
    }

    fn end_guest(&mut self) {
        self.seen.guest = Guest::Absent;
        self.seen.stop = StopSoFar::default();
    }

    fn set_status(&mut self, from: &[GuestStatus], to: GuestStatus) {
        if let Guest::Alive(status) = self.seen.guest
            && from.contains(&status)
        {
            self.seen.guest = Guest::Alive(to);
        }
    }

    fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Start if !self.intent.deleting && !self.intent.wanted_running => {
                self.intent.power_on();
                self.seen.failed = false;
            }
            Happening::Stop(mode) if !self.intent.deleting => {
                self.intent.wanted_running = false;
                self.intent.stop.mode = *mode;
            }
            Happening::Restart if self.intent.wanted_running && !self.intent.deleting => {
                self.intent.power_on();
            }
            Happening::Delete => {
                self.intent.deleting = true;
                self.intent.wanted_running = false;
            }
            Happening::GuestCrashes => self.end_guest(),
            Happening::GuestPowersOff => self.set_status(&[GuestStatus::Running], GuestStatus::PoweredOff),
            Happening::GuestHangs => self.set_status(&[GuestStatus::Running], GuestStatus::Silent),
            Happening::AgentRestarts => self.seen.stop = StopSoFar::default(),
            Happening::AgentDiesBeforeSpawning => {
                // The launch is written down, and no process follows.
                let decision = decide(&self.intent, &self.seen, self.now);
                if decision.step == Step::Launch {
                    self.write_down(false);
                }
                self.seen.stop = StopSoFar::default();
            }
            Happening::HostReboots => {
                self.end_guest();
                self.boot += 1;
                if let Some(launch) = &mut self.seen.launch {
                    launch.same_boot = false;
                }
            }
            Happening::TimePasses(seconds) => self.now += Duration::from_secs(u64::from(*seconds)),
            Happening::Passes(count) => {
                for _ in 0..*count {
                    self.pass();
                }
            }
            Happening::Start | Happening::Stop(_) | Happening::Restart => {}
        }
    }

    fn write_down(&mut self, spawned: bool) {
        self.seen.launch = Some(LastLaunch {
            run: self.intent.run,
            same_boot: true,
            spawned,
            end: GuestEnd::Unknown,
        });
        self.launch_boot = self.boot;
    }

    /// One pass; true when there was nothing to do.
    fn pass(&mut self) -> bool {
        if self.removed {
            return true;
        }
        let decision = decide(&self.intent, &self.seen, self.now);
        let alive = matches!(self.seen.guest, Guest::Alive(_));
        match decision.step {
            Step::Rest => {
                assert!(
                    !decision.look_again.is_zero(),
                    "rest without a time to look again is a busy loop"
                );
                return true;
            }
            Step::MakeFiles => self.seen.files_ready = true,
            Step::Launch => {
                assert!(!alive, "a guest would run twice");
                assert!(
                    self.intent.wanted_running && !self.intent.deleting,
                    "nobody asked for this launch"
                );
                assert!(self.seen.files_ready);
                let count = self
                    .launches_of_run
                    .entry((self.intent.run, self.boot))
                    .or_default();
                *count += 1;
                assert_eq!(
                    *count, 1,
                    "a power-on is launched once in a boot: no restart storm"
                );
                self.write_down(true);
                self.seen.guest = Guest::Alive(GuestStatus::Held);
                self.seen.stop = StopSoFar::default();
            }
            Step::PowerOn => {
                assert!(self.intent.wanted_running);
                self.seen.guest = Guest::Alive(GuestStatus::Running);
            }
            Step::PressPower => {
                assert!(
                    self.may_be_stopped(),
                    "the power button of a guest that is meant to run"
                );
                self.seen.stop.asked_at.get_or_insert(self.now);
                self.seen.stop.pressed_at = Some(self.now);
                if self.obedient {
                    self.set_status(&[GuestStatus::Running], GuestStatus::PoweredOff);
                }
            }
            Step::Quit => {
                assert!(self.may_be_stopped());
                self.seen.stop.quit_at.get_or_insert(self.now);
                if self.obedient {
                    self.end_guest();
                }
            }
            Step::Kill => {
                assert!(self.may_be_stopped(), "a guest that is meant to run is killed");
                self.seen.stop.killed_at = Some(self.now);
                self.end_guest();
            }
            Step::NotePowerOff => self.intent.wanted_running = false,
            Step::NoteFailure => {
                self.intent.wanted_running = false;
                self.seen.failed = true;
            }
            Step::Remove => {
                assert!(!alive && self.intent.deleting);
                self.removed = true;
            }
        }
        false
    }

    fn may_be_stopped(&self) -> bool {
        let outdated = self.seen.launch.is_none_or(|launch| launch.run < self.intent.run);
        !self.intent.wanted_running || self.intent.deleting || outdated
    }

    /// Passes and time, until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..200 {
            if self.pass() {
                let waits = matches!(self.seen.guest, Guest::Alive(_)) && self.may_be_stopped();
                if self.removed || !waits {
                    return;
                }
                self.now += decide(&self.intent, &self.seen, self.now).look_again;
            }
        }
        panic!("does not settle: {self:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever happens in whatever order, it settles in what was meant, and on the way no guest runs twice, none is stopped that
    /// is meant to run, and none is restarted in a loop (the assertions in [`Sim::pass`]).
    #[test]
    fn every_story_ends_as_it_was_meant(
        start in any::<bool>(),
        obedient in any::<bool>(),
        story in prop::collection::vec(happening(), 0..40),
    ) {
        let mut sim = Sim::new(start, obedient);
        for happening in &story {
            sim.happen(happening);
            sim.pass();
        }
        sim.settle();
        let decision = decide(&sim.intent, &sim.seen, sim.now);
        if sim.intent.deleting {
            prop_assert!(sim.removed);
        } else if sim.intent.wanted_running {
            prop_assert!(matches!(sim.seen.guest, Guest::Alive(GuestStatus::Running | GuestStatus::Silent)));
            prop_assert_eq!(decision.state, RunState::Running);
            prop_assert!(sim.seen.launch.is_some_and(|launch| launch.run == sim.intent.run));
        } else {
            prop_assert_eq!(sim.seen.guest, Guest::Absent);
            let expected = if sim.seen.failed { RunState::Failed } else { RunState::Stopped };
            prop_assert_eq!(decision.state, expected);
        }
    }

    /// The same question has the same answer, and every answer says when to look again.
    #[test]
    fn decisions_depend_on_nothing_else(
        start in any::<bool>(),
        story in prop::collection::vec(happening(), 0..20),
    ) {
        let mut sim = Sim::new(start, true);
        for happening in &story {
            sim.happen(happening);
        }
        let first = decide(&sim.intent, &sim.seen, sim.now);
        prop_assert_eq!(first, decide(&sim.intent, &sim.seen, sim.now));
        prop_assert_eq!(first.look_again.is_zero(), first.step != Step::Rest);
    }
}
