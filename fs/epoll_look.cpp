// SPDX-License-Identifier: MIT
// Looks at epoll sets. See epoll_look.hpp.
#include "fs/epoll_look.hpp"

#include "rt/mem/slab.hpp"
#include "rt/teardown.hpp"

namespace fs {

bool WaitMemory::charge() {
    const u64 more = (used_ - kFree - charged_ + kStep - 1) / kStep * kStep;
    if (payer_ && payer_->epoll_waits.fetch_add(more, std::memory_order_relaxed) + more > epoll_wait_limit()) {
        payer_->epoll_waits.fetch_sub(more, std::memory_order_relaxed);
        return false;
    }
    charged_ += more;
    return true;
}

// A file that ends with it, or null.
File* EpollLook::take_out(Nodes& nodes, Node& node) {
    nodes.remove(node);
    return node.hold.waited_on && node.hold.take_out(*node.file) ? node.file : nullptr;
}

bool EpollLook::forget_some(Nodes& nodes, WaitMemory& memory) {
    Node* gone[kPiece];
    File* ended[kPiece];
    u32 count = 0;
    {
        rt::LockGuard guard{epoll_lock};
        for (; count < kPiece && !nodes.empty(); ++count) {
            Node* node = gone[count] = nodes.first();
            ended[count] = take_out(nodes, *node);
        }
    }
    for (u32 n = 0; n < count; ++n) {
        delete ended[n];
        delete gone[n];  // which may end a file
    }
    memory.give(count * sizeof(Node));
    return nodes.empty();
}

// A thread that ends does not go through what it has noted. It replaces a node.
struct EpollLook::LateForget {
    rt::Teardown end;
    Nodes nodes;
    WaitMemory memory;
};

EpollLook::~EpollLook() {
    static_assert(sizeof(LateForget) <= sizeof(Node) && offsetof(LateForget, end) == 0);
    while (!forget()) {
        if (!rt::Teardown::later()) continue;
        Node* place = spare_.release();
        if (!place) {
            place = nodes_.first();
            epoll_lock.lock();
            File* ended = take_out(nodes_, *place);
            epoll_lock.unlock();
            delete ended;
        }
        place->~Node();
        auto* late = new (place) LateForget{.memory = std::move(memory_)};
        late->nodes.swap(nodes_);
        late->end.take_apart([](rt::Teardown& end) {
            auto* self = reinterpret_cast<LateForget*>(&end);
            if (!forget_some(self->nodes, self->memory)) return true;
            self->~LateForget();
            delete new (self) Node;
            return false;
        });
        return;
    }
}

void EpollLook::note_hold(File& file) {
    if (nodes_.find(reinterpret_cast<u64>(&file))) return;
    EpollHold& hold = spare_->hold;
    hold.waited_on = Ref<File>{frames_[0].set};
    hold.put_at(&file.holds);
}

// Null: no memory, or none for this user.
EpollLook::Node* EpollLook::make_node() {
    if (!memory_.take(sizeof(Node))) return nullptr;
    Node* node = rt::make<Node>();
    if (!node) memory_.give(sizeof(Node));
    return node;
}

// Null: as make_node(); never with a spare node.
EpollLook::Node* EpollLook::node_of(const Ref<File>& file) RT_UNCHECKED_LOCKING {
    const u64 key = reinterpret_cast<u64>(file.get());
    if (Node* known = nodes_.find(key)) return known;
    Node* fresh = spare_ ? spare_.release() : make_node();
    if (!fresh) return nullptr;
    fresh->key = key;
    fresh->file = file.get();
    if (!fresh->hold.waited_on) fresh->kept = file;
    nodes_.insert(*fresh);
    return fresh;
}

void EpollLook::watch(Node& node, u32 events) {
    if (!watch_) return;
    if ((events & kPollIn) && !std::exchange(node.timed, true)) {  // time makes files readable, nothing else
        Nanoseconds at = node.file->wake_time(now_);
        wake_ = at < wake_ ? at : wake_;
    }
    const u32 asked = kPollIn | (events & kPollOut);
    if ((asked & ~node.watched) == 0) return;
    node.watched |= asked;
    node.file->queues(events, *watch_);
}

void EpollLook::enter(EpollFile& set, Node* node, bool sums) {
    const u64 start = node ? 0 : set.start_after_.load(std::memory_order_relaxed);
    if (node) node->entered = true;
    frames_[depth_++] = {&set, node, start, ~u64{0}, start, sums, 0, set.changed_.sequence()};
}

void EpollLook::leave() {
    Frame& f = frames_[--depth_];
    if (!f.node) return;
    f.node->entered = false;
    f.node->mask = f.mask;
    f.node->sum = f.sum;
    f.node->known = f.sums ? Node::Known::kSum : Node::Known::kMask;
}

// `inner`: what is known of it, if it is a set. Its sequences are read before it is polled.
void EpollLook::ask(Frame& f, const EpollFile::View& v, const Node* inner) {
    const bool edge = (v.events & kEpollEdge) != 0;
    u64 seen = 0;
    if (edge || f.sums) {
        seen = inner ? inner->sum : edge_state(*v.file);
        f.sum += seen;
    }
    if (edge && !v.fresh && seen == v.seen) return;
    const u32 mask = (inner ? inner->mask : v.file->poll()) & v.events & 0xffff;
    if (mask == 0) return;
    if (f.node) {
        f.mask = kPollIn | kPollRdNorm;
        if (!watch_ && !f.sums) f.cursor = f.end;  // that is all
        return;
    }
    out_[found_++] = {v.key, v.data, seen, mask, (v.events & (kEpollEdge | kEpollOneShot)) != 0};
}

EpollLook::Step EpollLook::go_on() {
    for (u32 n = 0; n < kPiece; ++n) {
        if (depth_ == 0) return Step::kDone;
        Frame& f = frames_[depth_ - 1];
        const u64 before = f.cursor;
        EpollFile::View v;
        if (watch_ && !spare_) {
            spare_ = rt::Owned<Node>{make_node()};
            if (!spare_) return Step::kNoMem;
        }
        if (!f.set->next_view(f.cursor, f.end, v, watch_ ? this : nullptr)) {
            f.cursor = 0;
            f.end = std::exchange(f.wrapped, 0);
            if (f.end == 0) leave();
            continue;
        }
        if (!v.file) continue;
        const bool set = v.file->kind() == FileKind::kEpoll;
        Node* node = nullptr;
        if (watch_ || set) {
            node = node_of(v.file);
            if (!node) return Step::kNoMem;
            watch(*node, v.events);
        }
        if (set && !node->entered && depth_ < kDeepest) {
            const bool sums = f.sums || (v.events & kEpollEdge);
            if (node->known < (sums ? Node::Known::kSum : Node::Known::kMask)) {
                f.cursor = before;  // this item again, when that is known
                enter(static_cast<EpollFile&>(*v.file), node, sums);
                continue;
            }
        }
        ask(f, v, set ? node : nullptr);
        if (found_ == max_ && max_ != 0) depth_ = 0;
    }
    return depth_ == 0 ? Step::kDone : Step::kMore;
}

EpollLook::Step EpollLook::collect(EpollFile& set, EpollFile::Ready* out, u32 max, u32& found) {
    if (depth_ == 0) {
        out_ = out;
        max_ = max;
        found_ = 0;
        if (watch_) set.queues(kPollIn, *watch_);
        enter(set, nullptr, false);
    }
    const Step step = go_on();
    found = found_;
    return step;
}

EpollLook::Step EpollLook::poll(EpollFile& set, u32& mask) {
    if (depth_ == 0) {
        Node* node = node_of(Ref<File>{&set});
        if (!node) return Step::kNoMem;
        if (!node->kept) node->kept = Ref<File>{&set};
        watch(*node, kPollIn);
        mask = node->mask;
        if (node->known != Node::Known::kNothing) return Step::kDone;
        max_ = 0;
        enter(set, node, false);
    }
    const Step step = go_on();
    if (step == Step::kDone) mask = nodes_.find(reinterpret_cast<u64>(static_cast<File*>(&set)))->mask;
    return step;
}

}  // namespace fs
