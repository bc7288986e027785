// SPDX-License-Identifier: MIT
// load_program: the coroutine that puts the parts of the loader together, reads file pages that are not in the cache,
// and gives way during long argument lists.
#include "linux/exec/exec_load.hpp"

#include "linux/exec/program_loader.hpp"

namespace linux {
namespace {

// The program interpreter, opened for execution (execve(2)).
Leaf<Ref<fs::File>> open_interpreter(Caller& c, std::string_view path, const fs::Creds& creds) {
    fs::LookupContext from = c.lookup_context();
    fs::OpenContext how;
    how.path = TRY(fs::lookup(from, {}, path, fs::kFollow));
    how.flags = fs::kOpenReadOnly;
    how.creds = &creds;
    fs::Inode* inode = how.path.inode();
    if (!inode) return Errno::kNoEnt;
    if (!inode->is_regular()) return Errno::kAcces;
    if (how.path.mount->flags.load(std::memory_order_relaxed) & fs::kMountNoExec) return Errno::kAcces;
    TRY(fs::check_access(*inode, fs::kMayExec, creds));
    return inode->open(how);
}

}  // namespace

// Runs a step again and again until it needs no more file pages. In a coroutine.
#define LOADER_STEP(step)                                                       \
    for (;;) {                                                                  \
        auto step_result_ = (step);                                             \
        if (step_result_.ok()) break;                                           \
        if (step_result_.error() != kNeedsTask) co_return step_result_.error(); \
        Ref<fs::Mapping> mapping = std::move(loader.missing);                   \
        (void)CO_TRY(co_await mapping->read_page(loader.missing_index));        \
    }

namespace {

// All errors that Linux detects before its point of no return.
Task<Leaf<void>> read_headers(Caller& c, ProgramLoader& loader, Ref<fs::File> file, const fs::Creds& creds,
                              bool& unreadable) {
    LOADER_STEP(loader.read_object(loader.program, file, Errno::kNoExec));
    std::string_view name;
    LOADER_STEP(({
        auto r = loader.read_interpreter_name();
        if (r.ok()) name = r.value();
        r.ok() ? Leaf<void>(lib::kOk) : Leaf<void>(r.error());
    }));
    if (name.empty()) co_return lib::kOk;
    Ref<fs::File> interpreter = CO_TRY(open_interpreter(c, name, creds));
    unreadable = !fs::check_access(*interpreter->inode(), fs::kMayRead, c.creds()).ok();
    LOADER_STEP(({
        auto r = loader.read_object(loader.interpreter, interpreter, Errno::kIo);
        Leaf<void>(r.error() == Errno::kNoExec ? Errno::kLibBad : r.error());
    }));
    co_return lib::kOk;
}

// What Linux does after it: except for lack of memory, an error ends the program.
Task<Leaf<void>> build(Caller& c, ProgramLoader& loader, const ExecArguments& a) {
    CO_TRY(loader.examine(loader.program));
    if (loader.interpreter.mapping) CO_TRY(loader.examine(loader.interpreter));
    CO_TRY(loader.lay_out_stack(a));
    CO_TRY(loader.map_object(loader.program, false));
    CO_TRY(loader.place_stack());
    if (loader.interpreter.mapping) CO_TRY(loader.map_object(loader.interpreter, true));
    CO_TRY(loader.place_vdso());
    LOADER_STEP(loader.finish_tails(loader.program));
    if (loader.interpreter.mapping) LOADER_STEP(loader.finish_tails(loader.interpreter));
    while (CO_TRY(loader.grow_stack())) co_await rt::Yield{};
    while (loader.copy_text(a)) co_await rt::Yield{};
    loader.set_layout();
    while (CO_TRY(loader.write_pointers(a))) co_await rt::Yield{};
    co_return loader.write_vectors(c, a);
}

}  // namespace

Task<Leaf<LoadedProgram>> load_program(Caller& caller, Ref<fs::File> file, const ExecArguments& arguments) {
    rt::Owned<ProgramLoader> loader = CO_TRY(rt::make_owned<ProgramLoader>());
    const fs::Creds& creds = arguments.creds ? *arguments.creds : caller.creds();
    LoadedProgram out;
    CO_TRY(co_await read_headers(caller, *loader, std::move(file), creds, out.unreadable));

    loader->mm = CO_TRY(AddressSpace::create());
    loader->may_map_low = creds.capable(kCapSysRawio);
    const Process& p = caller.process();
    MemoryLimits& limits = loader->limits;
    limits = {.address = p.limit(kRlimAs), .data = p.data_limit(), .stack = p.limit(kRlimStack)};
    if (arguments.secure && limits.stack > kSecureStack) limits.stack = kSecureStack;
    if (auto r = co_await build(caller, *loader, arguments); !r.ok()) {
        if (r.error() == Errno::kNoMem) co_return Errno::kNoMem;
        out.dead = true;
        co_return std::move(out);
    }
    const ElfObject& first = loader->interpreter.mapping ? loader->interpreter : loader->program;
    out.entry = first.at(first.header.entry);
    out.stack = loader->stack_pointer();
    out.mm = std::move(loader->mm);
    // The first instruction would fault at once: its page and the adjacent ones that are in the cache.
    (void)out.mm->fault(out.entry, port::Access::kExec, nullptr);
    co_return std::move(out);
}

}  // namespace linux
