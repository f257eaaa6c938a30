//! What is counted where.

use super::*;

fn answered(core: &CoreMetrics, method: &Method, status: u16, timed: Timed) {
    core.answered(Answered {
        method,
        status: StatusCode::from_u16(status).unwrap(),
        timed,
        took: Duration::from_micros(100),
    });
}

#[test]
fn cores_are_told_together() {
    let metrics = Metrics::default();
    let (a, b) = (metrics.core(), metrics.core());
    answered(&a, &Method::GET, 200, Timed::Read);
    answered(&b, &Method::GET, 204, Timed::Nothing);
    answered(&b, &Method::POST, 204, Timed::Append);
    b.refused(Code::NotFound);
    a.refused(Code::NotFound);
    a.refused(Code::Overloaded);
    let totals = metrics.total();
    assert_eq!(totals.requests[0], [2, 0, 0, 0]);
    assert_eq!(totals.requests[2], [1, 0, 0, 0]);
    assert_eq!(totals.read_time.count(), 1);
    assert_eq!(totals.append_time.count(), 1);
    assert_eq!(totals.problems[Code::NotFound as usize], 2);
    assert_eq!(totals.problems[Code::Overloaded as usize], 1);
    assert_eq!(totals.problems.iter().sum::<u64>(), 3);
}

#[test]
fn only_what_succeeded_is_timed() {
    let metrics = Metrics::default();
    let core = metrics.core();
    for status in [200, 304, 409, 503] {
        answered(&core, &Method::GET, status, Timed::Read);
    }
    let totals = metrics.total();
    assert_eq!(totals.requests[0], [1, 1, 1, 1]);
    assert_eq!(totals.read_time.count(), 2);
}

#[test]
fn unknown_methods_and_odd_statuses_have_their_place() {
    for (index, name) in METHODS.iter().enumerate() {
        let method = Method::from_bytes(name.as_bytes()).unwrap();
        assert_eq!(method_of(&method), index);
    }
    for (status, class) in [(100, 3), (204, 0), (304, 1), (499, 2), (507, 3), (999, 3)] {
        assert_eq!(class_of(StatusCode::from_u16(status).unwrap()), class);
    }
}

#[test]
fn who_left_is_counted_no_more_wherever_it_ends() {
    let metrics = Metrics::default();
    let (front, core) = (metrics.core(), metrics.core());
    let looked_at = Connected::new(&front);
    let served = Connected::new(&core);
    let (sse, poll) = (
        Following::new(&core, Kind::Sse),
        Following::new(&core, Kind::LongPoll),
    );
    drop(looked_at);
    sse.delivered(Duration::from_millis(1));
    let totals = metrics.total();
    assert_eq!((totals.connections, totals.followers), (1, [1, 1]));
    assert_eq!(totals.delivery_time[0].count(), 1);
    assert_eq!(totals.delivery_time[1].count(), 0);
    drop((served, sse, poll));
    let totals = metrics.total();
    assert_eq!((totals.connections, totals.followers), (0, [0, 0]));
}
