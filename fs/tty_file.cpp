// SPDX-License-Identifier: MIT
// The terminal as an open file, and the inode of descriptors that did not come from /dev.
#include "fs/anonymous.hpp"
#include "fs/tty.hpp"
#include "lib/format.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

namespace {

class TtyFile final : public File {
public:
    TtyFile(Tty* tty, Path path, u32 flags, OpenAs as)
        : File(std::move(path), flags | kOpenTaskOnly), tty_(tty), as_(as) {
        kind_ = FileKind::kTerminal;
    }
    TtyFile(Tty* tty, Ref<Inode> nameless, u32 flags, OpenAs as)
        : File(std::move(nameless), flags | kOpenTaskOnly), tty_(tty), as_(as) {
        kind_ = FileKind::kTerminal;
    }
    ~TtyFile() override { tty_->remove_file(); }
    Leaf<size_t> try_read(const UserSpans& to, u64) override {
        return hung_up() ? Leaf<size_t>(size_t{0}) : tty_->read(to);
    }
    // How much the driver will take is known only after it took it: a blocking write is a task's.
    Leaf<size_t> try_write(const UserSpans& from, u64) override {
        if (!nonblocking()) return kNeedsTask;
        return try_write_some(from, 0);
    }
    Leaf<size_t> try_write_some(const UserSpans& from, u64) override {
        return hung_up() ? Leaf<size_t>(Errno::kIo) : tty_->write(from, false);
    }
    bool writes_all() const override { return true; }
    Leaf<u64> ioctl(UserMemory& user, u32 request, u64 argument) override {
        if (hung_up()) return request == kTiocSpgrp ? Errno::kNoTty : Errno::kIo;
        return tty_->ioctl(user, request, argument);
    }
    u32 poll() override {
        if (!hung_up()) return tty_->poll();
        return kPollIn | kPollOut | kPollErr | kPollHup | kPollRdNorm | kPollWrNorm;
    }
    void queues(u32 events, QueueSet& out) override {
        out.add(tty_->input);
        if (events & kPollOut) out.add(tty_->output);
    }
    bool pollable() const override { return true; }
    Nanoseconds read_deadline() override { return tty_->read_timeout(); }
    Tty* terminal() override { return hung_up() ? nullptr : tty_; }
    std::string_view label(std::span<char> buffer) override { return "/dev/ttyS0"; }

private:
    bool hung_up() const { return as_ == OpenAs::kTerminal && tty_->hang_ups() != hang_ups_; }
    Tty* tty_;
    const OpenAs as_;
    const u32 hang_ups_ = tty_->hang_ups();  // of the terminal when this was opened
};

class TtyInode final : public AnonymousInode {
public:
    void set_up_terminal() {
        set_up(kTypeChar | 0620);
        attributes_.unguarded().device = Tty::kDevice;
    }
    Leaf<Ref<File>> open(OpenContext& how) override { return open_terminal(how); }
};

}  // namespace

Result<Ref<File>> open_terminal(OpenContext& how, OpenAs as) {
    Tty* tty = TRY(Tty::get());
    Ref<TtyInode> inode;
    if (!how.path) {
        inode = TRY(rt::make_ref<TtyInode>());
        inode->super = TRY(anonymous_super());
        inode->set_up_terminal();
    }
    if (!tty->add_file(!how.creds || how.creds->capable(kCapSysAdmin))) return Errno::kBusy;
    const u32 flags = how.flags & ~kOpenOnce;
    auto file = inode ? make_file<TtyFile>(tty, Ref<Inode>{std::move(inode)}, flags, as)
                      : make_file<TtyFile>(tty, how.path, flags, as);
    if (!file.ok()) {
        tty->remove_file();
        return file;
    }
    if (how.terminal_opened && as == OpenAs::kTerminal && file.value()->readable())
        how.terminal_opened(*tty, how.caller);
    return file;
}

}  // namespace fs
