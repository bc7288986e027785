// SPDX-License-Identifier: MIT
// Words of Clang's thread-safety analysis (-Wthread-safety): which lock guards a variable, which lock a function needs. The
// compiler checks them; what they say is not said again in comments. A function whose locking the analysis cannot follow says
// so (RT_UNCHECKED_LOCKING) and why.
#pragma once

#define RT_CAPABILITY(name) __attribute__((capability(name)))
#define RT_SCOPED_CAPABILITY __attribute__((scoped_lockable))
// Read and written with the lock held. In a class without this word: a field with another rule, which a comment states.
#define RT_GUARDED_BY(lock) __attribute__((guarded_by(lock)))
// The same for what a pointer points to.
#define RT_PT_GUARDED_BY(lock) __attribute__((pt_guarded_by(lock)))
// The caller holds these locks, and still does afterwards.
#define RT_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
// The caller does not hold them: the function takes them itself.
#define RT_EXCLUDES(...) __attribute__((locks_excluded(__VA_ARGS__)))
#define RT_ACQUIRE(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define RT_TRY_ACQUIRE(...) __attribute__((try_acquire_capability(__VA_ARGS__)))
#define RT_RELEASE(...) __attribute__((release_capability(__VA_ARGS__)))
#define RT_RETURNS_LOCK(lock) __attribute__((lock_returned(lock)))
// From here on, in this function, the lock counts as held: it is, by means that the analysis does not see.
#define RT_ASSERTS_HELD(...) __attribute__((assert_capability(__VA_ARGS__)))
#define RT_UNCHECKED_LOCKING __attribute__((no_thread_safety_analysis))
