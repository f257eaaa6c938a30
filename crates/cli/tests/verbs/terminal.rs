//! What a person sees: stderr is a terminal.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    process::Stdio,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::support::{Server, command, eventually, ran};

/// Longer than input may take before a bar shows.
const A_WHILE: Duration = Duration::from_millis(1200);

/// What was written to a terminal so far.
#[derive(Clone)]
struct Screen(Arc<Mutex<String>>);

impl Screen {
    /// A terminal, and what shows on it.
    fn new() -> (Self, File) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let screen = openpt(flags).expect("a terminal");
        grantpt(&screen).expect("is ours");
        unlockpt(&screen).expect("is ours");
        let name = ptsname(&screen, Vec::new()).expect("a name");
        let name = name.into_string().expect("text");
        let terminal = OpenOptions::new().read(true).write(true).open(name);
        let shown = Self(Arc::default());
        let shows = shown.clone();
        // Ends when nobody has the terminal open any more.
        thread::spawn(move || {
            let mut screen = File::from(screen);
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = screen.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..len]);
                shows.0.lock().expect("not poisoned").push_str(&text);
            }
        });
        (shown, terminal.expect("a terminal"))
    }

    fn text(&self) -> String {
        self.0.lock().expect("not poisoned").clone()
    }
}

/// Appends input that takes its time; what shows.
fn slowly(server: &Server, flags: &[&str]) -> Screen {
    let (screen, terminal) = Screen::new();
    let mut command = server.command(&[&["append", "t"], flags].concat());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(terminal)
        .spawn()
        .expect("starts");
    drop(command);
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"first ").expect("is taken");
    thread::sleep(A_WHILE);
    input.write_all(b"last").expect("is taken");
    drop(input);
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    screen
}

#[test]
fn a_bar_shows_to_a_person_who_waits_and_goes_at_the_end() {
    let server = Server::start();
    server.ok(&["create", "t", "-t", "text"]);
    let screen = slowly(&server, &[]);
    eventually("the last line", || {
        screen
            .text()
            .contains("appended 10 bytes to t")
            .then_some(())
    });
    let text = screen.text();
    assert!(text.contains("B/s"), "{text:?}");
    // The line of the bar is cleared before the result is told.
    let (_, last) = text.rsplit_once("B/s").expect("a bar");
    assert!(last.contains("\u{1b}[2K"), "{text:?}");
    assert_eq!(server.ok(&["read", "t"]), "first last");
}

#[test]
fn no_bar_shows_to_who_wants_quiet_or_is_a_program() {
    let server = Server::start();
    server.ok(&["create", "t", "-t", "text"]);
    for flag in ["--quiet", "--json"] {
        assert_eq!(slowly(&server, &[flag]).text(), "", "{flag}");
    }
}

#[test]
fn errors_are_in_colour_on_a_terminal_unless_no_color_is_set() {
    let server = Server::start();
    for (no_color, start) in [("", "\u{1b}[1;31merror:\u{1b}[0m "), ("1", "error: ")] {
        let (screen, terminal) = Screen::new();
        let mut command = server.command(&["head", "nope"]);
        command.env("NO_COLOR", no_color).stderr(terminal);
        assert_eq!(command.status().expect("runs").code(), Some(4));
        drop(command);
        eventually("the help line", || {
            screen.text().contains("millrace create nope").then_some(())
        });
        assert!(screen.text().starts_with(start), "{:?}", screen.text());
    }
}

#[test]
fn help_breaks_between_words_on_a_terminal_and_not_for_programs() {
    let longest = |text: &str| text.lines().map(|line| line.chars().count()).max();
    let piped = ran(command(&["serve", "--help"]).output().expect("runs"));
    assert!(longest(&piped.out) > Some(100));
    let (screen, terminal) = Screen::new();
    let size = Winsize {
        ws_row: 40,
        ws_col: 72,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).expect("a size");
    let mut help = command(&["append", "--help"]);
    assert!(help.stdout(terminal).status().expect("runs").success());
    drop(help);
    eventually("all of it", || {
        screen.text().contains("--version").then_some(())
    });
    assert!(longest(&screen.text()) <= Some(72), "{}", screen.text());
}
