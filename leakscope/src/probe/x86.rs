//! What the kernel does with a probed x86-64 instruction, told from its bytes.
//!
//! Source: `arch/x86/kernel/uprobes.c` (`push_setup_xol_ops`, `branch_setup_xol_ops`,
//! `is_prefix_bad`).

use iced_x86::{Decoder, DecoderOptions, Formatter as _, Instruction, IntelFormatter};

/// An instruction that the kernel emulates instead of single-stepping a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emulated {
    /// `nop` of any length. Long ones only from Linux 6.18 on, and a five-byte one in mid-function
    /// must not be probed: its optimised form writes below rsp.
    Nop,
    /// `push` of a general register.
    Push,
    /// `jmp` to a fixed target.
    Jump,
    ConditionalJump,
    /// `call` of a fixed target.
    Call,
}

/// Splits off the legacy prefixes.
fn prefixes(bytes: &[u8]) -> (&[u8], &[u8]) {
    let is_prefix =
        |b: &u8| matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3);
    bytes.split_at(bytes.iter().take_while(|b| is_prefix(b)).count())
}

/// How the kernel emulates the instruction that consists of `bytes`, if it does.
pub(crate) fn emulated(bytes: &[u8]) -> Option<Emulated> {
    match *bytes {
        [0x50..=0x57] | [0x41, 0x50..=0x57] => Some(Emulated::Push),
        [0xeb, _] | [0xe9, _, _, _, _] => Some(Emulated::Jump),
        [0x70..=0x7f, _] | [0x0f, 0x80..=0x8f, _, _, _, _] => Some(Emulated::ConditionalJump),
        [0xe8, _, _, _, _] => Some(Emulated::Call),
        _ => match prefixes(bytes) {
            (prefix, [0x90] | [0x0f, 0x1f, ..]) if prefix.iter().all(|&b| b == 0x66) => Some(Emulated::Nop),
            _ => None,
        },
    }
}

/// Why the kernel refuses a probe on the instruction that consists of `bytes`, if it does.
pub(crate) fn refused(bytes: &[u8], instruction: &Instruction) -> Option<&'static str> {
    let (prefix, rest) = prefixes(bytes);
    if prefix.iter().any(|b| matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0xf0)) {
        return Some("the kernel refuses probes on lock and segment prefixes");
    }
    let opcode = rest.strip_prefix(&[0x66]).unwrap_or(rest);
    if prefix.contains(&0x66)
        && matches!(*opcode, [0xe8 | 0xe9 | 0xeb | 0x70..=0x7f, ..] | [0x0f, 0x80..=0x8f, ..])
    {
        return Some("the kernel refuses probes on 16-bit branches");
    }
    if instruction.is_privileged()
        || matches!(
            instruction.flow_control(),
            iced_x86::FlowControl::Interrupt | iced_x86::FlowControl::Exception
        )
    {
        return Some("the kernel refuses probes on traps and privileged instructions");
    }
    None
}

/// The number that [`leakscope_common::probe::Register`] gives to the general register that
/// `register` is a part of.
pub(crate) fn number(register: iced_x86::Register) -> Option<u8> {
    let full = register.full_register();
    full.is_gpr64().then(|| full.number() as u8)
}

/// A decoder for `bytes` at `address`.
pub(crate) fn decoder(bytes: &[u8], address: u64) -> Decoder<'_> {
    Decoder::with_ip(64, bytes, address, DecoderOptions::NONE)
}

/// The instruction as text.
pub(crate) fn text(instruction: &Instruction) -> String {
    let mut text = String::new();
    IntelFormatter::new().format(instruction, &mut text);
    text
}

/// Whether it is `ret`, with or without a prefix or an operand.
pub(crate) fn is_return(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        iced_x86::Code::Retnq
            | iced_x86::Code::Retnq_imm16
            | iced_x86::Code::Retnw
            | iced_x86::Code::Retnw_imm16
    )
}
