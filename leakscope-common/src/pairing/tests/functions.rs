//! Functions of an allocator, and the registers that they find their arguments in.

use crate::probe::{Cookie, Effect, NO_REGISTER, Register};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Malloc,
    Calloc,
    /// `operator new`, which an exception may leave.
    New,
    PosixMemalign,
    Realloc,
    /// mi_reallocf
    Reallocf,
    /// xallocx
    ResizeInPlace,
    /// mi_expand
    Expand,
}

/// All of them.
pub(super) const ALL: [Function; 8] = [
    Function::Malloc,
    Function::Calloc,
    Function::New,
    Function::PosixMemalign,
    Function::Realloc,
    Function::Reallocf,
    Function::ResizeInPlace,
    Function::Expand,
];

const SIZE: u8 = Register::Rsi as u8;
const COUNT: u8 = Register::Rdx as u8;
const POINTER: u8 = Register::Rdi as u8;
const OUT: u8 = Register::R8 as u8;
const EXTRA: u8 = Register::R9 as u8;

/// What a call is given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given {
    pub(super) size: u64,
    /// Calloc's count.
    pub(super) count: u64,
    pub(super) pointer: u64,
    /// Where posix_memalign stores the block's address.
    pub(super) out: u64,
    /// What xallocx may add.
    pub(super) extra: u64,
}

impl Given {
    /// The registers of the call.
    pub(super) fn registers(self) -> [u64; 16] {
        // What is no argument holds anything; the stack pointer counts as 0.
        let mut registers = [0x5555; 16];
        registers[NO_REGISTER as usize] = 0;
        for (register, value) in [
            (SIZE, self.size),
            (COUNT, self.count),
            (POINTER, self.pointer),
            (OUT, self.out),
            (EXTRA, self.extra),
        ] {
            registers[register as usize] = value;
        }
        registers
    }
}

impl Function {
    /// Whether it takes a block.
    pub(super) fn takes_block(self) -> bool {
        self.moves() || matches!(self, Self::ResizeInPlace | Self::Expand)
    }

    /// Whether it may move the block that it takes.
    pub(super) fn moves(self) -> bool {
        matches!(self, Self::Realloc | Self::Reallocf)
    }

    /// Its probe's cookie.
    pub(super) fn cookie(self) -> Cookie {
        let effect = match self {
            Self::Malloc | Self::Calloc | Self::New => Effect::Allocate,
            Self::PosixMemalign => Effect::AllocateOut,
            Self::Realloc => Effect::Reallocate,
            Self::Reallocf => Effect::ReallocateOrFree,
            Self::ResizeInPlace => Effect::ResizeInPlace,
            Self::Expand => Effect::Expand,
        };
        let count = if self == Self::Calloc { COUNT } else { NO_REGISTER };
        let pointer = if self.takes_block() { POINTER } else { NO_REGISTER };
        let out = if self == Self::PosixMemalign { OUT } else { NO_REGISTER };
        let extra = if self == Self::ResizeInPlace { EXTRA } else { NO_REGISTER };
        let cookie = Cookie::new(effect, SIZE, count, pointer, out, extra, self as u16 + 1);
        if self == Self::New { cookie.throwing() } else { cookie }
    }
}

/// The cookie of `free`.
pub(super) fn free_cookie() -> Cookie {
    Cookie::new(Effect::Free, NO_REGISTER, NO_REGISTER, POINTER, NO_REGISTER, NO_REGISTER, 100)
}
