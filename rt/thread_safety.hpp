// SPDX-License-Identifier: MIT
// Annotations for Clang's thread-safety analysis (-Wthread-safety): which lock guards a variable, and which lock a
// function needs. The compiler checks them, so comments do not repeat them. A function whose locking the analysis
// cannot follow is marked RT_UNCHECKED_LOCKING, with the reason.
#pragma once

#define RT_CAPABILITY(name) __attribute__((capability(name)))
#define RT_SCOPED_CAPABILITY __attribute__((scoped_lockable))
// Read and written with the lock held. A field without this annotation follows another rule, which a comment states.
#define RT_GUARDED_BY(lock) __attribute__((guarded_by(lock)))
// The same for the object that a pointer points to.
#define RT_PT_GUARDED_BY(lock) __attribute__((pt_guarded_by(lock)))
// The caller holds these locks before and after the call.
#define RT_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
// The caller does not hold them: the function takes them itself.
#define RT_EXCLUDES(...) __attribute__((locks_excluded(__VA_ARGS__)))
#define RT_ACQUIRE(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define RT_TRY_ACQUIRE(...) __attribute__((try_acquire_capability(__VA_ARGS__)))
#define RT_RELEASE(...) __attribute__((release_capability(__VA_ARGS__)))
#define RT_RETURNS_LOCK(lock) __attribute__((lock_returned(lock)))
// From here on, in this function, the analysis takes the lock as held: it is, in a way that the analysis cannot follow.
#define RT_ASSERTS_HELD(...) __attribute__((assert_capability(__VA_ARGS__)))
#define RT_UNCHECKED_LOCKING __attribute__((no_thread_safety_analysis))
