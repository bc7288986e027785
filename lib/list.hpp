// SPDX-License-Identifier: MIT
// Intrusive doubly linked list. A node is in at most one list per hook; insertion and removal allocate nothing and take
// constant time. The list has no lock; its owner documents what guards it.
#pragma once
#include <cstddef>

namespace lib {

struct ListHook {
    ListHook* prev = nullptr;
    ListHook* next = nullptr;
    bool linked() const { return next != nullptr; }
    void unlink() {
        prev->next = next;
        next->prev = prev;
        prev = next = nullptr;
    }
};

// T has a member `Hook` of type ListHook: List<Thread, &Thread::run_hook>.
template <class T, auto Hook>
class List {
public:
    constexpr List() { head_.prev = head_.next = &head_; }
    List(const List&) = delete;
    List& operator=(const List&) = delete;

    bool empty() const { return head_.next == &head_; }
    void push_back(T& t) { insert(head_.prev, &(t.*Hook)); }
    void push_front(T& t) { insert(&head_, &(t.*Hook)); }
    void insert_before(T& where, T& t) { insert((where.*Hook).prev, &(t.*Hook)); }
    T* front() { return empty() ? nullptr : from(head_.next); }
    T* back() { return empty() ? nullptr : from(head_.prev); }
    T* pop_front() {
        if (empty()) return nullptr;
        T* t = from(head_.next);
        (t->*Hook).unlink();
        return t;
    }
    static void remove(T& t) { (t.*Hook).unlink(); }
    // Moves all of `other` to the end of this list.
    void splice_back(List& other) {
        if (other.empty()) return;
        ListHook *first = other.head_.next, *last = other.head_.prev;
        first->prev = head_.prev;
        head_.prev->next = first;
        last->next = &head_;
        head_.prev = last;
        other.head_.prev = other.head_.next = &other.head_;
    }

    struct Iterator {
        ListHook* at;
        T& operator*() const { return *from(at); }
        T* operator->() const { return from(at); }
        Iterator& operator++() {
            at = at->next;
            return *this;
        }
        friend bool operator==(Iterator, Iterator) = default;
    };
    Iterator begin() { return {head_.next}; }
    Iterator end() { return {&head_}; }
    T* next(T& t) { return (t.*Hook).next == &head_ ? nullptr : from((t.*Hook).next); }
    T* prev(T& t) { return (t.*Hook).prev == &head_ ? nullptr : from((t.*Hook).prev); }

private:
    static void insert(ListHook* after, ListHook* h) {
        h->prev = after;
        h->next = after->next;
        after->next->prev = h;
        after->next = h;
    }
    static T* from(ListHook* h) {
        // The offset of a data member, without constructing a T.
        const T* none = reinterpret_cast<const T*>(alignof(T) * 64);
        auto offset = reinterpret_cast<const char*>(&(none->*Hook)) - reinterpret_cast<const char*>(none);
        return reinterpret_cast<T*>(reinterpret_cast<char*>(h) - offset);
    }
    ListHook head_;
};

}  // namespace lib
