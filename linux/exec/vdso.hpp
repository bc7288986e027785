// SPDX-License-Identifier: MIT
// The vDSO (vdso(7)) in the programs' address spaces: code that the port supplies, and the data page that it keeps.
// Both are page-cache objects of their own, made once; every program maps the same pages.
#pragma once
#include "fs/page.hpp"

namespace linux {

struct Vdso {
    fs::Mapping *data = nullptr, *code = nullptr;  // never freed; null: the port has none
    explicit operator bool() const { return code != nullptr; }
};
extern Vdso vdso;

Leaf<void> make_vdso();  // once, before the first program

}  // namespace linux
