//! Counts the instructions that sealock's data path takes, and compares them with a committed baseline.
//!
//! Times depend on the machine and on what else it does; how many instructions a piece of code runs does not. So growth of a few
//! percent can be told from noise, on any machine, with one run.
//!
//! - `cases` are the pieces of work that are counted.
//! - `count` runs one of them under callgrind.
//! - `baseline` is the file that is committed, `report` the comparison with it. What counts depend on besides the code is in `tools`.

mod baseline;
mod cases;
mod count;
mod report;
mod tools;

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;

use baseline::Baseline;
use report::Report;
use tools::Tools;

const USAGE: &str = "usage: sealock-instructions check|update BASELINE
       sealock-instructions run CASE";

/// The exit status where there is nothing to compare with.
const NOT_COMPARED: u8 = 3;

/// Runs before the one that is counted: windows have grown by then, buffers are there, the choice of vector code is made.
const WARM_UP: usize = 8;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["check", file] => check(Path::new(file)),
        ["update", file] => update(Path::new(file)).map(|()| ExitCode::SUCCESS),
        ["run", case] => run(case).map(|()| ExitCode::SUCCESS),
        _ => Err(USAGE.into()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

fn check(file: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let baseline = Baseline::read(file)?;
    let here = Tools::here()?;
    if !here.like(&baseline.tools) {
        println!(
            "not compared: the baseline is for {}; this is {here}",
            baseline.tools
        );
        return Ok(NOT_COMPARED.into());
    }
    let report = Report::new(&baseline, &count_all(here)?);
    print!("{report}");
    Ok(if report.failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn update(file: &Path) -> Result<(), Box<dyn Error>> {
    count_all(Tools::here()?)?.write(file)
}

fn count_all(tools: Tools) -> Result<Baseline, Box<dyn Error>> {
    let counts = cases::NAMES
        .iter()
        .map(|case| Ok(((*case).to_owned(), count::count(case)?)));
    Ok(Baseline {
        tools,
        counts: counts.collect::<Result<_, Box<dyn Error>>>()?,
    })
}

/// Does the work of one case. Under callgrind, its last run is counted.
fn run(name: &str) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    // The pump asks for the time.
    let _entered = runtime.enter();
    let mut work = cases::prepare(name).ok_or_else(|| format!("there is no case {name}"))?;
    for _ in 0..WARM_UP {
        work();
    }
    counted(&mut *work);
    Ok(())
}

/// Callgrind counts from where this is entered to where it is left. [`count::COUNTED`] is its name.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
    // Not the last thing it does: a jump to the work would leave it before the work is done.
    black_box(());
}
