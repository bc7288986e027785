// SPDX-License-Identifier: MIT
// Intrusive balanced tree (AVL, with parent links), ordered by a key that is part of T; allocates nothing.
//   struct Area { UserAddr start; lib::TreeHook hook; };
//   lib::Tree<Area, &Area::hook, lib::KeyMember<&Area::start>> areas;
// KeyOf is a type whose `operator()(const T&)` returns the key; KeyMember makes one from a data member or a member
// function without arguments. Keys are compared with `<` only. Equal keys are allowed and keep their order of
// insertion. Every operation is O(log n), except first(), which is O(1) (the earliest timer). The key of a node in the
// tree may change only if the order stays the same. The tree has no lock; its owner documents what guards it.
#pragma once
#include <cstddef>

#include "lib/types.hpp"

namespace lib {

struct TreeHook {
    TreeHook* parent = nullptr;
    TreeHook* left = nullptr;
    TreeHook* right = nullptr;
    u32 height = 0;  // of the subtree; 0: the node is in no tree
    bool linked() const { return height != 0; }
};

// The part that is independent of the element type.
struct TreeRoot {
    TreeHook* root = nullptr;
    TreeHook* first = nullptr;

    void insert_at(TreeHook* node, TreeHook* parent, TreeHook** link);  // link: the empty child slot (or &root)
    void remove(TreeHook* node);
    TreeHook* last() const;
    static TreeHook* next(const TreeHook* node);
    static TreeHook* prev(const TreeHook* node);
    // For tests: checks that every height, balance and parent link is correct.
    bool valid() const;

private:
    void rebalance(TreeHook* from);
    TreeHook* rotate(TreeHook* node);
    void replace_child(TreeHook* parent, TreeHook* old_child, TreeHook* new_child);
};

template <auto Member>
struct KeyMember {
    template <class T>
    static decltype(auto) operator()(const T& t) {
        if constexpr (requires { (t.*Member)(); })
            return (t.*Member)();
        else
            return (t.*Member);
    }
};

template <class T, auto Hook, class KeyOf>
class Tree {
public:
    constexpr Tree() = default;
    Tree(const Tree&) = delete;
    Tree& operator=(const Tree&) = delete;

    static decltype(auto) key(const T& t) { return KeyOf{}(t); }

    bool empty() const { return tree_.root == nullptr; }

    void insert(T& t) {
        TreeHook* parent = nullptr;
        TreeHook** link = &tree_.root;
        decltype(auto) k = key(t);
        while (*link) {
            parent = *link;
            link = k < key(*from(parent)) ? &parent->left : &parent->right;
        }
        tree_.insert_at(&(t.*Hook), parent, link);
    }
    void remove(T& t) { tree_.remove(&(t.*Hook)); }
    void swap(Tree& other) {
        const TreeRoot mine = tree_;
        tree_ = other.tree_;
        other.tree_ = mine;
    }

    // The first element whose key is not less than k; null if there is none.
    template <class K>
    T* lower_bound(const K& k) const {
        TreeHook* best = nullptr;
        for (TreeHook* at = tree_.root; at;) {
            if (key(*from(at)) < k) {
                at = at->right;
            } else {
                best = at;
                at = at->left;
            }
        }
        return from_or_null(best);
    }
    // The first element whose key is greater than k; null if there is none.
    template <class K>
    T* upper_bound(const K& k) const {
        TreeHook* best = nullptr;
        for (TreeHook* at = tree_.root; at;) {
            if (k < key(*from(at))) {
                best = at;
                at = at->left;
            } else {
                at = at->right;
            }
        }
        return from_or_null(best);
    }
    // The last element whose key is not greater than k (the area that starts at or before an address); null if there is
    // none.
    template <class K>
    T* floor(const K& k) const {
        TreeHook* best = nullptr;
        for (TreeHook* at = tree_.root; at;) {
            if (k < key(*from(at))) {
                at = at->left;
            } else {
                best = at;
                at = at->right;
            }
        }
        return from_or_null(best);
    }
    // The first element with exactly this key; null if there is none.
    template <class K>
    T* find(const K& k) const {
        T* t = lower_bound(k);
        return t && !(k < key(*t)) ? t : nullptr;
    }

    T* first() const { return from_or_null(tree_.first); }
    T* last() const { return from_or_null(tree_.last()); }
    static T* next(const T& t) { return from_or_null(TreeRoot::next(&(t.*Hook))); }
    static T* prev(const T& t) { return from_or_null(TreeRoot::prev(&(t.*Hook))); }
    bool valid() const { return tree_.valid(); }

    struct Iterator {
        T* at;
        T& operator*() const { return *at; }
        T* operator->() const { return at; }
        Iterator& operator++() {
            at = next(*at);
            return *this;
        }
        friend bool operator==(Iterator, Iterator) = default;
    };
    Iterator begin() const { return {first()}; }
    Iterator end() const { return {nullptr}; }

private:
    static T* from_or_null(TreeHook* h) { return h ? from(h) : nullptr; }
    static T* from(TreeHook* h) {
        const T* none = reinterpret_cast<const T*>(alignof(T) * 64);
        auto offset = reinterpret_cast<const char*>(&(none->*Hook)) - reinterpret_cast<const char*>(none);
        return reinterpret_cast<T*>(reinterpret_cast<char*>(h) - offset);
    }
    TreeRoot tree_;
};

}  // namespace lib
