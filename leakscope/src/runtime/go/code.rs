//! What the runtime's own functions refer to: how variables are found without symbols.

use iced_x86::{Decoder, DecoderOptions, Register};

use super::program::Program;

/// Most bytes of a function that are decoded.
const LONGEST_FUNCTION: u64 = 1 << 16;
/// Most addresses that a function is taken to refer to.
const MOST_REFERENCES: usize = 128;

/// Addresses of data that the code of a function refers to, in order, each once.
pub fn references(program: &Program, function: &str) -> Vec<u64> {
    let Some((part, found)) = program.function(function) else { return Vec::new() };
    let length = (part.pclntab.end(found) - found.entry).min(LONGEST_FUNCTION);
    let Some(code) = program.constant(found.entry, length as usize) else { return Vec::new() };
    let mut addresses = Vec::new();
    let mut decoder = Decoder::with_ip(64, &code, found.entry, DecoderOptions::NONE);
    while decoder.can_decode() && addresses.len() < MOST_REFERENCES {
        let instruction = decoder.decode();
        let absolute = instruction.memory_base() == Register::None
            && instruction.memory_index() == Register::None
            && instruction.memory_segment() != Register::FS
            && instruction.op_count() > 0;
        let address = if instruction.is_ip_rel_memory_operand() {
            instruction.ip_rel_memory_address()
        } else if absolute {
            instruction.memory_displacement64()
        } else {
            continue;
        };
        if address >= 0x1000 && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}
