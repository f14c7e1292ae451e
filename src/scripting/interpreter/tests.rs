//! The coroutine, told by hand.

use super::*;

#[test]
fn a_script_stands_still_for_its_command() {
    let mut lua = Interpreter::new(Options::default()).expect("an interpreter");
    let program = b"return redis.call('get', KEYS[1]) .. ARGV[1]".to_vec();
    let compiled = lua.resume(Tell::Compile { id: 3, program });
    assert!(matches!(compiled, Ask::Compiled(Ok(()))));
    for _ in 0..3 {
        let args = OwnedRequest::from_slices(&["key", "!"]);
        let asked = lua.resume(Tell::Run {
            id: 3,
            keys: 1,
            args: Box::new(args),
        });
        let Ask::Call(mut call) = asked else {
            panic!("not {asked:?}")
        };
        assert_eq!(call.request.args().at(1), b"key");
        call.reply.extend_from_slice(b"$5\r\nvalue\r\n");
        let told = lua.resume(Tell::Answer(call));
        assert!(matches!(told, Ask::Ended { failed: false, .. }));
        let written = lua.resume(Tell::Write {
            reply: Box::default(),
            name: None,
        });
        let Ask::Written { reply, .. } = written else {
            panic!("not {written:?}")
        };
        assert_eq!(reply.output().to_vec(), b"$6\r\nvalue!\r\n");
    }
}

#[test]
fn a_program_that_is_none_is_told_so() {
    let mut lua = Interpreter::new(Options::default()).expect("an interpreter");
    let program = b"not a program".to_vec();
    let Ask::Compiled(Err(text)) = lua.resume(Tell::Compile { id: 0, program }) else {
        panic!("it compiled")
    };
    assert!(text.starts_with(b"user_script:1:"));
}

#[test]
fn programs_that_assign_to_our_names_are_known() {
    for (program, expected) in [
        ("return redis.call('get', KEYS[1])", false),
        ("if redis == nil then return KEYS end", false),
        ("KEYS = {}", true),
        ("redis\n= 1", true),
        ("a, ARGV = 1, 2", true),
        ("KEYS, a = 1, 2", true),
        ("function redis() end", true),
        ("redis --[[ x ]] = 1", true),
        ("local KEYSTONE = 1 return MYKEYS", false),
        ("return select('#', ...)", true),
    ] {
        assert_eq!(assigns(program.as_bytes()), expected, "{program}");
    }
}

#[test]
fn who_stands_in_no_program_can_be_ended() {
    let new = || Interpreter::new(Options::default()).expect("an interpreter");
    assert!(new().end());

    let mut lua = new();
    let program = b"return redis.call('get', KEYS[1])".to_vec();
    lua.resume(Tell::Compile { id: 0, program });
    let library = b"redis.register_function('f', function() return 1 end)";
    let mut asked = lua.resume(Tell::LoadLibrary(library.to_vec()));
    while matches!(asked, Ask::Clock) {
        asked = lua.resume(Tell::Clock(0));
    }
    assert!(matches!(asked, Ask::Loaded(Ok(_))), "{asked:?}");
    let run = |lua: &mut Interpreter| {
        let args = Box::new(OwnedRequest::from_slices(&["key"]));
        let keys = 1;
        match lua.resume(Tell::Run { id: 0, keys, args }) {
            Ask::Call(call) => call,
            other => panic!("{other:?}"),
        }
    };
    let mut call = run(&mut lua);
    call.reply.extend_from_slice(b"$-1\r\n");
    let told = lua.resume(Tell::Answer(call));
    assert!(matches!(told, Ask::Ended { .. }));
    lua.resume(Tell::Write {
        reply: Box::default(),
        name: None,
    });
    assert!(lua.end());
    assert!(matches!(lua.resume(Tell::ForgetAll), Ask::Ready));

    let mut lua = new();
    let program = b"return redis.call('get', KEYS[1])".to_vec();
    lua.resume(Tell::Compile { id: 0, program });
    run(&mut lua);
    assert!(!lua.end());
}
