use super::*;

const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nstream-next-offset: 0-7\r\n\r\nhello";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nStream-Up-To-Date: true\r\n\r\n\
    5;x=1\r\nhello\r\n1\r\n \r\na\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n";
const NO_BODY: &str =
    "HTTP/1.1 204 No Content\r\nstream-next-offset: 9\r\nconnection: close\r\n\r\n";

/// All responses in `text`, fed in pieces of so many bytes.
fn fed(text: &str, by: usize, is_bodyless: bool) -> Vec<(Head, String)> {
    let mut responses = Responses::new(is_bodyless);
    let (mut all, mut body) = (Vec::new(), Vec::new());
    for part in text.as_bytes().chunks(by) {
        let fed = responses.feed(part, |piece| {
            match piece {
                Piece::Head(_) => assert!(body.is_empty()),
                Piece::Body(bytes) => body.extend_from_slice(bytes),
                Piece::End(head) => {
                    let text = String::from_utf8(std::mem::take(&mut body)).expect("text");
                    all.push((head.clone(), text));
                }
            }
            Ok(())
        });
        fed.expect("is HTTP");
    }
    assert!(!responses.is_amid() || responses.is_to_the_end());
    all
}

#[test]
fn responses_are_the_same_however_they_are_cut() {
    let text = [PLAIN, CHUNKED, NO_BODY, PLAIN].concat();
    for by in [1, 2, 3, 7, 64, text.len()] {
        let all = fed(&text, by, false);
        let bodies: Vec<&str> = all.iter().map(|(_, body)| body.as_str()).collect();
        assert_eq!(
            bodies,
            ["hello", "hello 0123456789", "", "hello"],
            "by {by}"
        );
        assert_eq!(all[0].0.next_offset, b"0-7");
        assert_eq!(
            all[1].0.next_offset, b"",
            "nothing is left of the one before"
        );
        assert!(all[1].0.is_up_to_date && !all[3].0.is_up_to_date);
        assert!(all[2].0.closes && all[2].0.status == 204);
    }
}

#[test]
fn an_answer_to_head_has_no_body() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".repeat(2);
    assert_eq!(fed(&text, 9, true).len(), 2);
}

#[test]
fn a_body_without_a_length_goes_on_to_the_end() {
    let mut responses = Responses::new(false);
    let mut body = Vec::new();
    let fed = responses.feed(b"HTTP/1.1 200 OK\r\n\r\nabc", |piece| {
        if let Piece::Body(bytes) = piece {
            body.extend_from_slice(bytes);
        }
        Ok(())
    });
    fed.expect("is HTTP");
    assert!(responses.is_to_the_end());
    assert_eq!(body, b"abc");
}

#[test]
fn what_is_no_http_is_refused() {
    for text in [
        "SSH-2.0\r\n",
        "HTTP/1.1 xyz\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno header\r\n\r\n",
    ] {
        let fed = Responses::new(false).feed(text.as_bytes(), |_| Ok(()));
        assert!(fed.is_err(), "{text}");
    }
}
