//! The caller by the letter of the call frame information: gimli finds the rule and evaluates every
//! expression in full. Slow, and shares nothing with the rows.

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, EhFrameOffset, Encoding, EndianSlice, EvaluationResult,
    LittleEndian, Location, Register, RegisterRule, UnwindContext, UnwindExpression, UnwindSection as _,
    Value, X86_64,
};
use leakscope_common::unwind::{ReadWord as _, Regs};

use super::Synthetic;

pub(super) struct Reference {
    eh_frame: Vec<u8>,
    bases: BaseAddresses,
    /// Start, end and position of each function, sorted.
    pub(super) functions: Vec<(u64, u64, usize)>,
}

/// The rule at an address.
#[derive(Clone)]
pub(super) struct Rule {
    pub(super) cfa: CfaRule<usize>,
    pub(super) ra: Option<RegisterRule<usize>>,
    pub(super) bp: Option<RegisterRule<usize>>,
    pub(super) sp: Option<RegisterRule<usize>>,
    encoding: Encoding,
}

/// What the rule says about the caller; memory is [`Synthetic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Caller {
        ip: u64,
        sp: u64,
        bp: u64,
    },
    Root,
    /// The rule needs a register that unwinding does not follow.
    OtherRegister,
}

impl Reference {
    pub(super) fn new(eh_frame: Vec<u8>, address: u64) -> Self {
        let bases = BaseAddresses::default().set_eh_frame(address);
        let mut functions = Vec::new();
        {
            let section = EhFrame::new(&eh_frame, LittleEndian);
            let mut entries = section.entries(&bases);
            while let Some(entry) = entries.next().expect("well-formed") {
                let CieOrFde::Fde(partial) = entry else { continue };
                let fde = partial.parse(EhFrame::cie_from_offset).expect("well-formed");
                if fde.len() > 0 {
                    functions.push((fde.initial_address(), fde.end_address(), fde.offset()));
                }
            }
        }
        functions.sort_unstable();
        Self { eh_frame, bases, functions }
    }

    fn section(&self) -> EhFrame<EndianSlice<'_, LittleEndian>> {
        EhFrame::new(&self.eh_frame, LittleEndian)
    }

    /// The rule at `pc`; `None` where no function is.
    pub(super) fn rule(&self, pc: u64) -> Option<Rule> {
        let after = self.functions.partition_point(|f| f.0 <= pc);
        let &(_, _, offset) = self.functions[..after].last().filter(|f| pc < f.1)?;
        let section = self.section();
        let fde = section
            .fde_from_offset(&self.bases, EhFrameOffset(offset), EhFrame::cie_from_offset)
            .expect("parsed before");
        let mut context = UnwindContext::new();
        let row = fde
            .unwind_info_for_address(&section, &self.bases, &mut context, pc)
            .expect("inside the function");
        Some(Rule {
            cfa: row.cfa().clone(),
            ra: row.register(X86_64::RA),
            bp: row.register(X86_64::RBP),
            sp: row.register(X86_64::RSP),
            encoding: fde.cie().encoding(),
        })
    }

    pub(super) fn caller(&self, rule: &Rule, regs: Regs) -> Expected {
        if matches!(rule.ra, Some(RegisterRule::Undefined)) {
            return Expected::Root;
        }
        self.try_caller(rule, regs).unwrap_or(Expected::OtherRegister)
    }

    fn try_caller(&self, rule: &Rule, regs: Regs) -> Option<Expected> {
        let cfa = match &rule.cfa {
            CfaRule::RegisterAndOffset { register, offset } => {
                get(regs, *register)?.wrapping_add_signed(*offset)
            }
            CfaRule::Expression(expression) => self.evaluate(*expression, rule.encoding, regs)?,
        };
        let saved = |rule_of: &RegisterRule<usize>, own: u64| {
            Some(match rule_of {
                RegisterRule::SameValue | RegisterRule::Undefined => own,
                RegisterRule::Offset(offset) => Synthetic::at(cfa.wrapping_add_signed(*offset)),
                RegisterRule::ValOffset(offset) => cfa.wrapping_add_signed(*offset),
                RegisterRule::Register(register) => get(regs, *register)?,
                RegisterRule::Expression(at) => Synthetic::at(self.evaluate(*at, rule.encoding, regs)?),
                RegisterRule::ValExpression(value) => self.evaluate(*value, rule.encoding, regs)?,
                other => panic!("unexpected rule {other:?}"),
            })
        };
        let ip = saved(rule.ra.as_ref().expect("every CIE of x86-64 gives it a rule"), regs.ip)?;
        let bp = match &rule.bp {
            None => regs.bp,
            Some(rule) => saved(rule, regs.bp)?,
        };
        let sp = match &rule.sp {
            None => cfa,
            Some(rule) => saved(rule, cfa)?,
        };
        Some(Expected::Caller { ip, sp, bp })
    }

    fn evaluate(&self, expression: UnwindExpression<usize>, encoding: Encoding, regs: Regs) -> Option<u64> {
        let section = self.section();
        let mut evaluation = expression.get(&section).expect("in the section").evaluation(encoding);
        let mut result = evaluation.evaluate().expect("valid");
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = get(regs, register)?;
                    evaluation.resume_with_register(Value::Generic(value)).expect("valid")
                }
                EvaluationResult::RequiresMemory { address, size: 8, .. } => {
                    let value = Synthetic.word(address)?;
                    evaluation.resume_with_memory(Value::Generic(value)).expect("valid")
                }
                other => panic!("unexpected request {other:?}"),
            };
        }
        match evaluation.result().pop().expect("a result").location {
            Location::Address { address } => Some(address),
            other => panic!("unexpected result {other:?}"),
        }
    }
}

fn get(regs: Regs, register: Register) -> Option<u64> {
    match register {
        X86_64::RA => Some(regs.ip),
        X86_64::RSP => Some(regs.sp),
        X86_64::RBP => Some(regs.bp),
        // Known of the innermost frame alone.
        _ if regs.exact == 0 => None,
        X86_64::RAX => Synthetic.register(0),
        X86_64::RCX => Synthetic.register(1),
        X86_64::RDX => Synthetic.register(2),
        X86_64::RBX => Synthetic.register(3),
        X86_64::RSI => Synthetic.register(6),
        X86_64::RDI => Synthetic.register(7),
        Register(number @ 8..16) => Synthetic.register(number as u8),
        _ => None,
    }
}
