// SPDX-License-Identifier: MIT
// AVL rebalancing for lib/tree.hpp, common to all element types. Invariant: the heights of a node's two subtrees
// differ by at most one, and `height` is one more than the larger of them.
#include "lib/tree.hpp"

namespace lib {
namespace {

u32 height(const TreeHook* n) { return n ? n->height : 0; }
u32 height_from_children(const TreeHook* n) {
    u32 l = height(n->left), r = height(n->right);
    return (l > r ? l : r) + 1;
}

bool subtree_valid(const TreeHook* n, const TreeHook* parent) {
    if (!n) return true;
    u32 l = height(n->left), r = height(n->right);
    return n->parent == parent && n->height == height_from_children(n) && l <= r + 1 && r <= l + 1 &&
           subtree_valid(n->left, n) && subtree_valid(n->right, n);
}

}  // namespace

void TreeRoot::replace_child(TreeHook* parent, TreeHook* old_child, TreeHook* new_child) {
    if (!parent)
        root = new_child;
    else if (parent->left == old_child)
        parent->left = new_child;
    else
        parent->right = new_child;
    if (new_child) new_child->parent = parent;
}

// Rotates a node whose subtrees differ in height by two; returns the new top of its subtree.
TreeHook* TreeRoot::rotate(TreeHook* node) {
    bool left_heavy = height(node->left) > height(node->right);
    TreeHook* child = left_heavy ? node->left : node->right;
    TreeHook* inner = left_heavy ? child->right : child->left;
    TreeHook* outer = left_heavy ? child->left : child->right;
    TreeHook* top = child;
    TreeHook* parent = node->parent;
    if (height(inner) > height(outer)) {  // double rotation: the inner grandchild becomes the top
        top = inner;
        TreeHook* to_child = left_heavy ? inner->left : inner->right;
        TreeHook* to_node = left_heavy ? inner->right : inner->left;
        (left_heavy ? child->right : child->left) = to_child;
        if (to_child) to_child->parent = child;
        (left_heavy ? node->left : node->right) = to_node;
        if (to_node) to_node->parent = node;
        (left_heavy ? inner->left : inner->right) = child;
        (left_heavy ? inner->right : inner->left) = node;
        child->parent = inner;
        child->height = height_from_children(child);
    } else {
        (left_heavy ? node->left : node->right) = inner;
        if (inner) inner->parent = node;
        (left_heavy ? child->right : child->left) = node;
    }
    replace_child(parent, node, top);
    node->parent = top;
    node->height = height_from_children(node);
    top->height = height_from_children(top);
    return top;
}

// Walks up as long as heights change. `from` is the lowest node whose subtrees may have changed.
void TreeRoot::rebalance(TreeHook* from) {
    for (TreeHook* n = from; n; n = n->parent) {
        u32 l = height(n->left), r = height(n->right);
        u32 before = n->height;
        if (l > r + 1 || r > l + 1)
            n = rotate(n);
        else
            n->height = (l > r ? l : r) + 1;
        if (n->height == before) return;
    }
}

void TreeRoot::insert_at(TreeHook* node, TreeHook* parent, TreeHook** link) {
    node->parent = parent;
    node->left = node->right = nullptr;
    node->height = 1;
    *link = node;
    if (!first || link == &first->left) first = node;
    rebalance(parent);
}

void TreeRoot::remove(TreeHook* node) {
    if (node == first) first = next(node);
    TreeHook* start;  // where heights may have changed
    if (node->left && node->right) {
        // The successor, which is leftmost in the right subtree, replaces the node.
        TreeHook* heir = node->right;
        while (heir->left) heir = heir->left;
        if (heir == node->right) {
            start = heir;
        } else {
            start = heir->parent;
            start->left = heir->right;
            if (heir->right) heir->right->parent = start;
            heir->right = node->right;
            node->right->parent = heir;
        }
        heir->left = node->left;
        node->left->parent = heir;
        heir->height = node->height;
        replace_child(node->parent, node, heir);
    } else {
        start = node->parent;
        replace_child(node->parent, node, node->left ? node->left : node->right);
    }
    rebalance(start);
    *node = TreeHook{};
}

TreeHook* TreeRoot::last() const {
    TreeHook* n = root;
    while (n && n->right) n = n->right;
    return n;
}

TreeHook* TreeRoot::next(const TreeHook* node) {
    if (TreeHook* n = node->right) {
        while (n->left) n = n->left;
        return n;
    }
    TreeHook* up = node->parent;
    while (up && up->right == node) {
        node = up;
        up = up->parent;
    }
    return up;
}

TreeHook* TreeRoot::prev(const TreeHook* node) {
    if (TreeHook* n = node->left) {
        while (n->right) n = n->right;
        return n;
    }
    TreeHook* up = node->parent;
    while (up && up->left == node) {
        node = up;
        up = up->parent;
    }
    return up;
}

bool TreeRoot::valid() const {
    TreeHook* least = root;
    while (least && least->left) least = least->left;
    return least == first && subtree_valid(root, nullptr);
}

}  // namespace lib
