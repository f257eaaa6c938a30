//! Many streams on one connection (`/v1/streams/_live`): a writer that appends to them in turn, and
//! readers that each follow all of them.
//!
//! An event is taken once it is whole, so that what a reader has of a stream and the offset that it
//! was told are always of the same event.

use std::time::Duration;

use memchr::{memchr, memmem};

use super::{Ended, Sent, Tally, Work};
use crate::{
    BenchError, Plan,
    events::{Events, Part},
    request::Requests,
    response::Head,
};

/// Where streams are followed, whatever the path of streams is: no part of the protocol.
const PATH: &str = "/v1/streams/_live";

/// Follows all streams of a plan. Connection 0 is the writer.
#[derive(Debug)]
pub(crate) struct Live<'a> {
    requests: &'a Requests,
    streams: Vec<Stream>,
    /// Which stream is appended to next.
    turn: usize,
    readers: Vec<Reader>,
}

#[derive(Debug)]
struct Stream {
    name: String,
    sent: Sent,
}

#[derive(Debug)]
struct Reader {
    events: Events,
    /// What there is of an event.
    event: Vec<u8>,
    /// Of each stream.
    places: Vec<Place>,
    /// How many streams were told of at least once.
    told: usize,
}

/// How far a reader is in a stream.
#[derive(Clone, Debug, Default)]
struct Place {
    position: usize,
    /// Empty until the stream was told of.
    offset: Vec<u8>,
}

impl<'a> Live<'a> {
    pub(crate) fn new(plan: &Plan, requests: &'a Requests) -> Self {
        let stream = |number| Stream {
            name: plan.name(number),
            sent: Sent::new(plan),
        };
        let reader = |_| Reader {
            events: Events::default(),
            event: Vec::new(),
            places: vec![Place::default(); plan.streams],
            told: 0,
        };
        Self {
            requests,
            streams: (0..plan.streams).map(stream).collect(),
            turn: 0,
            readers: (0..plan.subscribers).map(reader).collect(),
        }
    }
}

impl Work for Live<'_> {
    fn request(&mut self, connection: usize, due: Duration, out: &mut Vec<u8>) -> bool {
        let Some(reader) = connection.checked_sub(1) else {
            let Stream { name, sent } = &mut self.streams[self.turn];
            sent.append(self.requests, name, due, out);
            return true;
        };
        let reader = &mut self.readers[reader];
        reader.events = Events::default();
        reader.event.clear();
        let body = wanted(&self.streams, &reader.places);
        self.requests.post_to(out, PATH, body.len());
        out.extend_from_slice(&body);
        true
    }

    fn body(
        &mut self,
        connection: usize,
        bytes: &[u8],
        now: Duration,
        tally: &mut Tally,
    ) -> Result<(), BenchError> {
        let Some(reader) = connection.checked_sub(1) else {
            return Ok(());
        };
        let streams = &self.streams;
        let Reader {
            events,
            event,
            places,
            told,
        } = &mut self.readers[reader];
        events.feed(bytes, |part| {
            match part {
                Part::Data(data) => event.extend_from_slice(data),
                Part::DataEnd => {
                    *told += usize::from(take(streams, places, event, now, tally)?);
                    event.clear();
                }
                Part::Control(_) => {}
            }
            Ok(())
        })
    }

    fn end(
        &mut self,
        connection: usize,
        _head: &Head,
        _now: Duration,
        _tally: &mut Tally,
    ) -> Result<Ended, BenchError> {
        if connection == 0 {
            self.streams[self.turn].sent.acknowledged();
            self.turn = (self.turn + 1) % self.streams.len();
        }
        Ok(Ended::Whole(1))
    }

    fn is_ready(&self) -> bool {
        let streams = self.streams.len();
        self.readers.iter().all(|reader| reader.told == streams)
    }

    fn is_settled(&self) -> bool {
        self.readers.iter().all(|reader| {
            let mut both = self.streams.iter().zip(&reader.places);
            both.all(|(stream, place)| place.position == stream.sent.len())
        })
    }
}

/// What a reader asks for: every stream, from where it is.
fn wanted(streams: &[Stream], places: &[Place]) -> Vec<u8> {
    let mut body = b"{\"follow\":[".to_vec();
    for (number, (stream, place)) in streams.iter().zip(places).enumerate() {
        if number > 0 {
            body.push(b',');
        }
        let offset = match place.offset.as_slice() {
            [] => b"-1",
            offset => offset,
        };
        // Neither names nor offsets have anything that JSON would escape.
        body.extend_from_slice(b"{\"stream\":\"");
        body.extend_from_slice(stream.name.as_bytes());
        body.extend_from_slice(b"\",\"offset\":\"");
        body.extend_from_slice(offset);
        body.extend_from_slice(b"\"}");
    }
    body.extend_from_slice(b"]}");
    body
}

/// Takes an event. Whether its stream was not told of before.
fn take(
    streams: &[Stream],
    places: &mut [Place],
    event: &[u8],
    now: Duration,
    tally: &mut Tally,
) -> Result<bool, BenchError> {
    let unexpected = || {
        let text = String::from_utf8_lossy(&event[..event.len().min(200)]);
        BenchError::Mismatch(format!("no event of a followed stream: {text}"))
    };
    let named = text_of(event, b"\"stream\":\"").and_then(|name| numbered(streams, name));
    let next = text_of(event, b"\"nextOffset\":\"");
    let (number, next) = named.zip(next).ok_or_else(unexpected)?;
    let place = &mut places[number];
    if let Some(text) = text_of(event, b"\"text\":\"") {
        let sent = &streams[number].sent;
        place.position = sent.compare(place.position, text, now, tally)?;
    }
    let is_first = place.offset.is_empty();
    place.offset.clear();
    place.offset.extend_from_slice(next);
    Ok(is_first)
}

/// Which stream has this name, by the number at its end.
fn numbered(streams: &[Stream], name: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(name).ok()?.rsplit('-').next()?;
    let number: usize = digits.parse().ok()?;
    let is_it = streams.get(number)?.name.as_bytes() == name;
    is_it.then_some(number)
}

/// The text that follows a key. Nothing that is sent here has quotes or is escaped, and what comes back
/// otherwise is not what was appended.
fn text_of<'a>(event: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = &event[memmem::find(event, key)? + key.len()..];
    Some(&rest[..memchr(b'"', rest)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Target};

    const NOW: Duration = Duration::from_millis(5);

    /// Two streams, followed by one reader, with one append to each.
    fn two(requests: &Requests) -> (Live<'_>, [String; 2]) {
        let mut plan = Plan::new(Kind::Live, 1);
        plan.streams = 2;
        let mut live = Live::new(&plan, requests);
        let appended = [1, 2].map(|due| {
            let mut out = Vec::new();
            assert!(live.request(0, Duration::from_millis(due), &mut out));
            let mut tally = Tally::default();
            let ended = live.end(0, &Head::default(), NOW, &mut tally);
            assert!(matches!(ended, Ok(Ended::Whole(1))));
            String::from_utf8(out[out.len() - plan.size..].to_vec()).unwrap()
        });
        (live, appended)
    }

    fn requests() -> Requests {
        Requests::new(&Target::parse("http://127.0.0.1:1", "v1/stream", None).unwrap())
    }

    fn event(stream: usize, offset: &str, text: &str) -> String {
        let name = Plan::new(Kind::Live, 1).name(stream);
        format!(
            "data:{{\"stream\":\"{name}\",\"nextOffset\":\"{offset}\",\"text\":\"{text}\"}}\n\n"
        )
    }

    fn feed(live: &mut Live<'_>, events: &str, by: usize) -> Result<u64, BenchError> {
        let mut tally = Tally {
            until: Duration::MAX,
            ..Tally::default()
        };
        for part in events.as_bytes().chunks(by) {
            live.body(1, part, NOW, &mut tally)?;
        }
        Ok(tally.deliveries)
    }

    #[test]
    fn every_stream_is_compared_with_what_was_appended_to_it() {
        let requests = requests();
        for by in [1, 7, 1000] {
            let (mut live, [one, two]) = two(&requests);
            assert!(!live.is_ready());
            let empty = event(0, "o0", "") + &event(1, "o0", &two) + ": alive\n\n";
            assert_eq!(feed(&mut live, &empty, by).unwrap(), 1);
            assert!(live.is_ready() && !live.is_settled());
            assert_eq!(feed(&mut live, &event(0, "o1", &one), by).unwrap(), 1);
            assert!(live.is_settled());
        }
    }

    #[test]
    fn what_is_lost_repeated_or_of_another_stream_is_a_mismatch() {
        let requests = requests();
        let (_, [one, two_]) = two(&requests);
        for wrong in [
            event(0, "o1", &two_),
            event(0, "o1", &one) + &event(0, "o2", &one),
            event(0, "o1", &one[1..]),
            event(2, "o1", ""),
            "data:{\"stream\":\"x\",\"error\":{\"status\":404}}\n\n".to_owned(),
        ] {
            let (mut live, _) = two(&requests);
            let fed = feed(&mut live, &wrong, 1000);
            assert!(matches!(fed, Err(BenchError::Mismatch(_))), "{wrong}");
        }
    }

    #[test]
    fn a_connection_that_is_made_again_goes_on_after_the_last_whole_event() {
        let requests = requests();
        let (mut live, [one, two]) = two(&requests);
        let second = event(1, "o2", &two);
        let cut = event(0, "o1", &one) + &second[..second.len() - 9];
        feed(&mut live, &cut, 1000).unwrap();
        let mut out = Vec::new();
        assert!(live.request(1, NOW, &mut out));
        let text = String::from_utf8(out).unwrap();
        let name = |stream| Plan::new(Kind::Live, 1).name(stream);
        let body = format!(
            "{{\"follow\":[{{\"stream\":\"{}\",\"offset\":\"o1\"}},{{\"stream\":\"{}\",\"offset\":\"-1\"}}]}}",
            name(0),
            name(1)
        );
        assert!(
            text.starts_with("POST /v1/streams/_live HTTP/1.1\r\n"),
            "{text}"
        );
        assert!(text.ends_with(&body), "{text}");
        feed(&mut live, &second, 1000).unwrap();
        assert!(live.is_settled());
    }
}
