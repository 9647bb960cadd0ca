//! Classic BPF as the kernel runs it on a system call, for tests: what a filter says without making the call.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET,
    BPF_W, sock_filter,
};

const LOAD: u32 = BPF_LD | BPF_W | BPF_ABS;
const AND: u32 = BPF_ALU | BPF_AND | BPF_K;
const RETURN: u32 = BPF_RET | BPF_K;
const JUMP: u32 = BPF_JMP | BPF_JA;
const IF_EQUAL: u32 = BPF_JMP | BPF_JEQ | BPF_K;
const IF_GREATER: u32 = BPF_JMP | BPF_JGT | BPF_K;
const IF_NOT_LESS: u32 = BPF_JMP | BPF_JGE | BPF_K;
const IF_ANY_BIT: u32 = BPF_JMP | BPF_JSET | BPF_K;

/// `struct seccomp_data` as its 16 words.
pub struct Call {
    words: [u32; 16],
}

impl Call {
    pub fn new(architecture: u32, number: u32, arguments: [u64; 6]) -> Call {
        let mut words = [0; 16];
        (words[0], words[1]) = (number, architecture);
        for (index, argument) in arguments.into_iter().enumerate() {
            words[4 + 2 * index] = argument as u32;
            words[5 + 2 * index] = (argument >> 32) as u32;
        }
        Call { words }
    }
}

/// The filter's verdict and how many instructions it took. Panics where the kernel would have refused the program.
pub fn run(program: &[sock_filter], call: &Call) -> (u32, usize) {
    let (mut at, mut accumulator) = (0, 0);
    for steps in 1.. {
        let instruction = program[at];
        let branch = |hit: bool| usize::from(if hit { instruction.jt } else { instruction.jf });
        at += 1;
        match u32::from(instruction.code) {
            LOAD => accumulator = call.words[instruction.k as usize / 4],
            AND => accumulator &= instruction.k,
            JUMP => at += instruction.k as usize,
            IF_EQUAL => at += branch(accumulator == instruction.k),
            IF_GREATER => at += branch(accumulator > instruction.k),
            IF_NOT_LESS => at += branch(accumulator >= instruction.k),
            IF_ANY_BIT => at += branch(accumulator & instruction.k != 0),
            RETURN => return (instruction.k, steps),
            other => panic!("instruction {other:#x} at {}", at - 1),
        }
    }
    unreachable!("all jumps are forward")
}

/// Whether the kernel would take the program: jumps land inside of it and it ends with a verdict.
pub fn is_sound(program: &[sock_filter]) -> bool {
    let lands = |from: usize, over: usize| from + 1 + over < program.len();
    let sound = |(at, instruction): (usize, &sock_filter)| match u32::from(instruction.code) {
        LOAD => instruction.k % 4 == 0 && instruction.k < 64,
        AND | RETURN => true,
        JUMP => lands(at, instruction.k as usize),
        IF_EQUAL | IF_GREATER | IF_NOT_LESS | IF_ANY_BIT => {
            lands(at, instruction.jt.into()) && lands(at, instruction.jf.into())
        }
        _ => false,
    };
    program.iter().enumerate().all(sound) && program.last().is_some_and(|last| u32::from(last.code) == RETURN)
}
