//! What a history keeps, what is foretold from it, and how it says so.

#![expect(
    clippy::expect_used,
    reason = "a test ends where its footing does, and says where"
)]

use std::f64::consts::TAU;

use pool::forecast::{
    AGE_S_MAX, BACKWARD_RUN_MAX, Effort, Forecast, HORIZON_STEPS_MAX, History, HistoryError, LEVEL_DEFAULT,
    Method, Note, SampleRefused, Sampling, effort_for, forecast, predict_load, predict_load_with,
    predict_loads,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const STEP_S: i64 = 300;
const DAY: usize = 288;
const EFFORTS: [Effort; 3] = [Effort::Quick, Effort::Blended, Effort::Full];

fn history(values: impl IntoIterator<Item = f64>) -> History {
    let samples = (0..).map(|step| step * STEP_S).zip(values);
    History::from_samples(Sampling::default(), 1.0, samples).expect("a valid sampling")
}

/// Uniform noise of the given width around zero; the same for the same seed.
fn noise(seed: u64, width: f64) -> impl FnMut() -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    move || (random.random::<f64>() - 0.5) * width
}

fn at(step: usize, period: usize) -> f64 {
    f64::from(u32::try_from(step % period).expect("small")) / f64::from(u32::try_from(period).expect("small"))
}

fn close(one: f64, other: f64, within: f64) -> bool {
    (one - other).abs() <= within
}

mod history_of_samples {
    use super::*;

    #[test]
    fn samples_of_one_step_are_averaged() {
        let mut history = history([]);
        for (time_s, value) in [(0, 0.2), (100, 0.4), (299, 0.6), (300, 0.8)] {
            history.push(time_s, value).expect("in order");
        }
        assert!(close(history.values()[0], 0.4, 1e-12));
        assert!(close(history.values()[1], 0.8, 1e-12));
        assert_eq!(history.values().len(), 2);
    }

    #[test]
    fn a_short_gap_is_bridged_by_a_straight_line() {
        let mut history = history([0.2]);
        history.push(4 * STEP_S, 0.6).expect("later");
        for (value, expected) in history.values().iter().zip([0.2, 0.3, 0.4, 0.5, 0.6]) {
            assert!(close(*value, expected, 1e-12), "{value} is not {expected}");
        }
        assert_eq!(history.irregularities().interpolated, 3);
    }

    #[test]
    fn after_a_long_gap_the_series_starts_anew() {
        let mut history = history([0.2, 0.3]);
        history.push(STEP_S + 1_801, 0.9).expect("later");
        assert_eq!(history.values(), [0.9]);
        assert_eq!(history.irregularities().restarts, 1);
    }

    #[test]
    fn what_cannot_be_measured_is_refused_and_counted() {
        let mut history = history([0.5]);
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(matches!(
                history.push(600, value),
                Err(SampleRefused::NotFinite { time_s: 600, .. })
            ));
        }
        assert_eq!(
            history.push(600, -0.1),
            Err(SampleRefused::Negative {
                time_s: 600,
                value: -0.1
            })
        );
        assert_eq!(history.values(), [0.5]);
        assert_eq!(
            (
                history.irregularities().not_finite,
                history.irregularities().negative
            ),
            (3, 1)
        );
    }

    #[test]
    fn a_reading_above_the_capacity_is_cut_to_it() {
        let history = history([1.01]);
        assert_eq!(history.values(), [1.0]);
        assert_eq!(history.irregularities().above_capacity, 1);
    }

    #[test]
    fn a_sample_from_the_past_or_the_same_moment_is_refused() {
        let mut history = history([0.1, 0.2]);
        for time_s in [0, 299, 300] {
            let refused = SampleRefused::NotLater {
                time_s,
                newest_s: 300,
            };
            assert_eq!(history.push(time_s, 0.9), Err(refused));
        }
        assert_eq!(history.values(), [0.1, 0.2]);
        assert_eq!(
            SampleRefused::NotLater {
                time_s: 0,
                newest_s: 300
            }
            .to_string(),
            "sample at 0 s refused: the newest one is from 300 s"
        );
    }

    #[test]
    fn one_sample_from_the_far_future_does_not_silence_a_series_for_ever() {
        let mut history = history([0.1]);
        history.push(i64::MAX, 0.9).expect("later");
        for step in 1..=i64::from(BACKWARD_RUN_MAX) {
            assert!(history.push(step * STEP_S, 0.2).is_err());
        }
        let next = (i64::from(BACKWARD_RUN_MAX) + 1) * STEP_S;
        history.push(next, 0.3).expect("the clock was set back for good");
        assert_eq!(
            (history.values(), history.newest_s()),
            ([0.3].as_slice(), Some(next))
        );
    }

    #[test]
    fn it_keeps_the_newest_values_only() {
        let sampling = Sampling {
            samples_max: 10,
            ..Sampling::default()
        };
        let samples = (0..100_i32).map(|step| (i64::from(step) * STEP_S, f64::from(step)));
        let history = History::from_samples(sampling, 1_000.0, samples).expect("valid");
        let newest: Vec<f64> = (90..100).map(f64::from).collect();
        assert_eq!(history.values(), newest);
    }

    #[test]
    fn its_age_is_told_from_the_time_that_is_given() {
        let history = history([0.1, 0.2]);
        assert_eq!(history.age_s(1_000), Some(700));
        assert_eq!(history.age_s(0), Some(-300));
        assert_eq!(super::history([]).age_s(0), None);
    }

    #[test]
    fn impossible_samplings_are_refused_with_their_numbers() {
        let with = |sampling: Sampling, capacity: f64| History::new(sampling, capacity).map(|_| ());
        let usual = Sampling::default();
        assert_eq!(
            with(Sampling { step_s: 0, ..usual }, 1.0),
            Err(HistoryError::Step { step_s: 0 })
        );
        assert_eq!(
            with(
                Sampling {
                    samples_max: 1,
                    ..usual
                },
                1.0
            ),
            Err(HistoryError::Length { samples: 1 })
        );
        for capacity in [0.0, -1.0, f64::INFINITY] {
            assert_eq!(with(usual, capacity), Err(HistoryError::Capacity { capacity }));
        }
        assert!(with(usual, f64::NAN).is_err());
    }
}

mod methods {
    use super::*;

    #[test]
    fn without_a_sample_anything_is_possible() {
        let made = forecast(&history([]), 3, LEVEL_DEFAULT, Effort::Full);
        assert_eq!((made.method, made.note), (Method::None, Note::NoSamples));
        assert_eq!((made.lower, made.upper), (vec![0.0; 3], vec![1.0; 3]));
    }

    #[test]
    fn a_short_history_gives_its_last_value_with_bounds_that_close_in() {
        let made = |samples: usize| {
            let values = (0..samples).map(|step| if step % 2 == 0 { 0.4 } else { 0.5 });
            forecast(&history(values), 12, LEVEL_DEFAULT, Effort::Full)
        };
        let (few, more) = (made(2), made(20));
        assert_eq!(
            (few.method, few.note),
            (
                Method::LastValue,
                Note::TooShort {
                    samples: 2,
                    needed: 24
                }
            )
        );
        assert_eq!(few.point, vec![0.5; 12]);
        assert!(few.upper[0] > more.upper[0] && few.lower[0] < more.lower[0]);
        assert_eq!(
            few.note.to_string(),
            "2 measurements so far, 24 are needed to learn from them"
        );
    }

    #[test]
    fn what_never_changed_is_foretold_to_stay() {
        for value in [0.0, 0.7] {
            for effort in EFFORTS {
                let made = forecast(&history([value; 600]), 12, LEVEL_DEFAULT, effort);
                assert_eq!((made.method, made.note), (Method::LastValue, Note::Constant));
                assert_eq!((&made.point, &made.upper), (&vec![value; 12], &vec![value; 12]));
            }
        }
    }

    #[test]
    fn less_than_two_days_say_that_a_daily_shape_cannot_be_seen_yet() {
        let mut noise = noise(1, 0.2);
        let made = forecast(
            &history((0..500).map(|_| 0.5 + noise())),
            12,
            LEVEL_DEFAULT,
            Effort::Full,
        );
        assert_eq!(
            made.note,
            Note::NoSeasonYet {
                samples: 500,
                needed: 576
            }
        );
        assert_eq!(made.method, Method::Blend);
    }

    #[test]
    fn a_daily_shape_is_found_and_foretold() {
        let mut noise = noise(2, 0.1);
        let day = |step: usize| 0.5 + 0.3 * (at(step, DAY) * TAU).sin();
        // The history ends at the steepest rise of the day.
        let known = history((0..4 * DAY).map(|step| day(step) + noise()));
        for effort in [Effort::Blended, Effort::Full] {
            let made = forecast(&known, 36, LEVEL_DEFAULT, effort);
            assert_eq!(
                made.method,
                Method::SeasonalBlend {
                    daily: true,
                    weekly: false
                }
            );
            assert!(
                matches!(made.note, Note::SeasonFound { error_cut } if error_cut > 0.2),
                "{:?}",
                made.note
            );
            for steps in [1, 12, 36] {
                let expected = day(4 * DAY - 1 + steps);
                assert!(
                    close(made.point[steps - 1], expected, 0.04),
                    "{steps} steps ahead"
                );
            }
        }
    }

    #[test]
    fn a_free_weekend_is_foretold_from_two_weeks() {
        let mut noise = noise(3, 0.05);
        let busy = |step: usize| if (step / DAY) % 7 < 5 { 0.6 } else { 0.1 };
        // Ends on a Friday at midnight: the days before say busy, the weeks before say free.
        let known = history((0..(2 * 7 + 5) * DAY).map(|step| busy(step) + noise()));
        let made = forecast(&known, 12, LEVEL_DEFAULT, Effort::Full);
        assert!(
            matches!(
                made.method,
                Method::SeasonalBlend { weekly: true, .. } | Method::SeasonalTrend { weekly: true, .. }
            ),
            "{:?}",
            made.method
        );
        assert!(made.point[11] < 0.25, "{} on a free Saturday", made.point[11]);
    }

    #[test]
    fn chance_is_not_taken_for_a_season() {
        for seed in 0..10 {
            let mut noise = noise(seed, 0.4);
            let made = forecast(
                &history((0..3 * DAY).map(|_| 0.5 + noise())),
                12,
                LEVEL_DEFAULT,
                Effort::Blended,
            );
            assert_eq!(
                (made.method, made.note),
                (Method::Blend, Note::NoSeasonFound),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn a_steady_rise_is_followed() {
        let mut noise = noise(4, 0.01);
        let rise = |step: usize| 0.1 + 0.8 * at(step, 400);
        let known = history((0..300).map(|step| rise(step) + noise()));
        for effort in [Effort::Blended, Effort::Full] {
            let made = forecast(&known, 12, LEVEL_DEFAULT, effort);
            assert!(
                close(made.point[11], rise(311), 0.02),
                "{} by {:?}",
                made.point[11],
                made.method
            );
        }
    }

    #[test]
    fn a_rise_that_the_blend_lags_behind_is_handed_to_the_trend() {
        let mut noise = noise(5, 0.1);
        // Slow against its noise: short windows are too unsure, long ones too late.
        let rise = |step: usize| 0.1 + 0.8 * at(step, 700);
        let known = history((0..570).map(|step| rise(step) + noise()));
        let blend = forecast(&known, 48, LEVEL_DEFAULT, Effort::Blended);
        let full = forecast(&known, 48, LEVEL_DEFAULT, Effort::Full);
        let error = |made: &Forecast| (made.point[47] - rise(617)).abs();
        assert_eq!((blend.method, full.method), (Method::Blend, Method::Trend));
        assert!(
            error(&full) < error(&blend) / 2.0,
            "{} is not far below {}",
            error(&full),
            error(&blend)
        );
    }

    #[test]
    fn a_burst_does_not_move_what_is_usual_but_raises_the_mean_and_the_peak() {
        // Every tenth value is a burst.
        let known = history((0..DAY).map(|step| if step % 10 == 9 { 0.9 } else { 0.1 }));
        for effort in EFFORTS {
            let load = predict_load_with(&known, 287 * STEP_S, 3_600, effort);
            assert!(
                close(load.typical, 0.1, 0.05),
                "{effort:?}: usual is {}",
                load.typical
            );
            assert!(
                close(load.mean, 0.18, 0.03),
                "{effort:?}: the mean is {}",
                load.mean
            );
            assert!(load.peak > 0.8, "{effort:?}: the peak is {}", load.peak);
        }
    }

    #[test]
    fn higher_levels_have_wider_bounds_and_so_do_later_steps() {
        let (mut noise, mut walk) = (noise(6, 0.02), 0.5);
        let known = history((0..DAY).map(|_| {
            walk += noise();
            walk
        }));
        let width = |level: f64, step: usize| {
            let made = forecast(&known, 24, level, Effort::Blended);
            made.upper[step] - made.lower[step]
        };
        assert!(width(0.95, 23) > width(0.6, 23));
        assert!(width(0.9, 23) > width(0.9, 0));
    }
}

mod loads {
    use super::*;

    fn usual() -> History {
        let mut noise = noise(7, 0.1);
        history((0..DAY).map(|_| 0.3 + noise()))
    }

    fn newest_s() -> i64 {
        usual().newest_s().expect("samples")
    }

    #[test]
    fn a_fresh_history_gives_a_load_within_the_range() {
        let load = predict_load(&usual(), newest_s() + 30, 3_600);
        assert!(close(load.mean, 0.3, 0.02) && close(load.typical, 0.3, 0.02));
        assert!(load.peak > load.mean && load.peak < 0.4);
        assert!(
            close(load.deviation, 0.1 / 12.0_f64.sqrt(), 0.01),
            "{} is not that of the noise",
            load.deviation
        );
    }

    /// An hour is twelve steps: the value in an hour is just the last one, and the mean on the way there is not.
    #[test]
    fn what_swings_from_one_measurement_to_the_next_is_foretold_by_its_mean() {
        for samples in [24, 25, 36, 48, 49, 144, 288, 600] {
            let swinging = history((0..samples).map(|step| if step % 2 == 0 { 0.25 } else { 0.75 }));
            let newest_s = swinging.newest_s().expect("samples");
            for (effort, age_s) in EFFORTS
                .into_iter()
                .flat_map(|effort| [(effort, 30), (effort, 330)])
            {
                let load = predict_load_with(&swinging, newest_s + age_s, 3_600, effort);
                let case = format!("{samples} samples, {effort:?}, {age_s} s old: {load:?}");
                assert!(close(load.mean, 0.5, 0.02), "{case}");
                assert!(close(load.deviation, 0.25, 0.06), "{case}");
                assert!(load.peak >= 0.75, "{case}");
            }
        }
        let swinging = history((0..48).map(|step| if step % 2 == 0 { 0.25 } else { 0.75 }));
        let load = predict_load(&swinging, 47 * STEP_S, 3_600);
        assert_eq!(load.note, Note::Swings, "it says so");
    }

    #[test]
    fn what_does_not_swing_keeps_what_foretells_it_best() {
        let mut noise = noise(5, 0.02);
        let mut level = 0.5;
        let wandering = history(
            std::iter::repeat_with(move || {
                level += noise();
                level
            })
            .take(2 * DAY),
        );
        let load = predict_load(&wandering, wandering.newest_s().expect("samples"), 3_600);
        assert_ne!(load.note, Note::Swings);
        assert_ne!(predict_load(&usual(), newest_s(), 3_600).note, Note::Swings);
    }

    #[test]
    fn an_old_history_promises_nothing_and_says_how_old_it_is() {
        let load = predict_load(&usual(), newest_s() + AGE_S_MAX + 1, 3_600);
        assert_eq!(
            (load.method, load.note),
            (Method::LastValue, Note::Stale { age_s: 3_601 })
        );
        assert!(close(load.peak, 1.0, 1e-12));
        assert_eq!(load.note.to_string(), "the newest measurement is 3601 s old");
    }

    #[test]
    fn a_clock_that_is_behind_is_named() {
        let slightly = predict_load(&usual(), newest_s() - 600, 3_600);
        assert_eq!(slightly.note, Note::ClockBehind { ahead_s: 600 });
        assert!(slightly.peak < 0.4, "ten minutes do not make a history useless");
        let far = predict_load(&usual(), i64::MIN, 3_600);
        assert!(matches!(far.note, Note::ClockBehind { .. }));
        assert!(close(far.peak, 1.0, 1e-12));
    }

    #[test]
    fn nothing_measured_means_that_everything_must_be_reckoned_with() {
        let load = predict_load(&history([]), 0, 3_600);
        assert_eq!((load.method, load.note), (Method::None, Note::NoSamples));
        assert!(close(load.peak, 1.0, 1e-12) && close(load.mean, 0.5, 1e-12));
    }

    #[test]
    fn time_that_has_passed_since_the_newest_sample_is_skipped() {
        let rise = |step: usize| 0.1 + 0.8 * at(step, 400);
        let known = history((0..300).map(rise));
        let now = predict_load(&known, 299 * STEP_S, 600).mean;
        let later = predict_load(&known, 302 * STEP_S, 600).mean;
        assert!(
            close(later - now, 3.0 * 0.8 / 400.0, 1e-3),
            "{now} now, {later} three steps later"
        );
    }

    #[test]
    fn the_larger_the_pool_the_quicker_the_look() {
        assert_eq!(
            [1, 500, 50_000].map(effort_for),
            [Effort::Full, Effort::Blended, Effort::Quick]
        );
        let known = vec![usual(); 1_500];
        let loads = predict_loads(known.iter(), newest_s(), 3_600);
        assert_eq!(loads.len(), 1_500);
        assert!(
            loads
                .iter()
                .all(|load| load.note == Note::QuickLook && close(load.typical, 0.3, 0.03))
        );
    }
}

/// What must hold of every forecast, whatever it was made from.
fn check(made: &Forecast, horizon: usize, capacity: f64) -> Result<(), TestCaseError> {
    let steps = horizon.clamp(1, HORIZON_STEPS_MAX);
    prop_assert_eq!([made.point.len(), made.lower.len(), made.upper.len()], [steps; 3]);
    for ((lower, point), upper) in made.lower.iter().zip(&made.point).zip(&made.upper) {
        prop_assert!(
            0.0 <= *lower && lower <= point && point <= upper && *upper <= capacity,
            "{:?}",
            made
        );
    }
    prop_assert!(made.deviation >= 0.0 && made.deviation.is_finite() && made.mean_above_point.is_finite());
    Ok(())
}

fn any_effort() -> impl Strategy<Value = Effort> {
    prop::sample::select(EFFORTS.to_vec())
}

/// Values as they come: steady, two-valued, bursts, huge, tiny, and no numbers at all.
fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..1.0_f64,
        2 => prop::sample::select(vec![0.0, 1.0, 100.0]),
        1 => prop::num::f64::POSITIVE,
        1 => prop::num::f64::ANY,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Days of 24 steps, so that weeks of history stay small.
    #[test]
    fn no_series_breaks_a_forecast(
        values in prop_oneof![
            prop::collection::vec(any_value(), 0..420),
            (any_value(), 0..420_usize).prop_map(|(value, length)| vec![value; length]),
            (any_value(), -0.01..0.01_f64, prop::collection::vec(-0.1..0.1_f64, 0..420)).prop_map(
                |(from, slope, noise)| {
                    (0..1_000_u32).map(f64::from).zip(noise).map(|(step, more)| from + slope * step + more).collect()
                },
            ),
            (any_value(), any_value(), 1..60_usize, 0..420_usize).prop_map(|(usual, burst, every, length)| {
                (0..length).map(|step| if step % every == 0 { burst } else { usual }).collect()
            }),
        ],
        capacity in prop_oneof![Just(1.0), Just(f64::MAX), Just(f64::MIN_POSITIVE), 0.001..1e9_f64],
        horizon in prop_oneof![0..50_usize, Just(usize::MAX)],
        level in prop::num::f64::ANY,
        effort in any_effort(),
    ) {
        let sampling = Sampling { step_s: 3_600, gap_max_s: 7_200, samples_max: 400 };
        let samples = (0..).map(|step| step * 3_600).zip(values);
        let history = History::from_samples(sampling, capacity, samples).expect("valid");
        let made = forecast(&history, horizon, level, effort);
        check(&made, horizon, capacity)?;
        prop_assert_eq!(&made, &forecast(&history, horizon, level, effort), "the same input, another output");
    }

    #[test]
    fn no_clock_breaks_a_history(
        samples in prop::collection::vec(
            (prop_oneof![4 => 0..100_000_i64, 1 => any::<i64>()], any_value()), 0..200),
        sampling in (1..=86_400_u32, any::<u32>(), 2..300_usize)
            .prop_map(|(step_s, gap_max_s, samples_max)| Sampling { step_s, gap_max_s, samples_max }),
        now_s in any::<i64>(),
        horizon_s in any::<u32>(),
    ) {
        let history = History::from_samples(sampling, 1.0, samples.iter().copied()).expect("valid");
        prop_assert!(history.values().len() <= sampling.samples_max);
        prop_assert!(history.values().iter().all(|value| (0.0..=1.0).contains(value)));
        let irregular = history.irregularities();
        let refused = irregular.not_finite + irregular.negative + irregular.not_later;
        prop_assert!(refused <= u64::try_from(samples.len()).expect("small"));
        for now_s in [now_s, history.newest_s().unwrap_or_default()] {
            let load = predict_load_with(&history, now_s, horizon_s, Effort::Blended);
            for value in [load.mean, load.typical, load.peak] {
                prop_assert!((0.0..=1.0).contains(&value), "{:?}", load);
            }
            prop_assert!(load.typical <= load.peak && load.deviation >= 0.0);
        }
    }

    #[test]
    fn a_unit_changes_the_numbers_and_nothing_else(
        values in prop::collection::vec(0.0..1.0_f64, 30..200), unit in prop::sample::select(vec![0.25, 1024.0]),
    ) {
        let of = |unit: f64| {
            let samples = (0..).map(|step| step * STEP_S).zip(values.iter().map(|value| value * unit));
            let history = History::from_samples(Sampling::default(), unit, samples).expect("valid");
            forecast(&history, 12, LEVEL_DEFAULT, Effort::Blended)
        };
        let (one, other) = (of(1.0), of(unit));
        for (value, same) in one.point.iter().chain(&one.upper).zip(other.point.iter().chain(&other.upper)) {
            prop_assert!(close(value * unit, *same, 1e-9 * unit), "{} is not {} of {}", same, value, unit);
        }
    }
}
