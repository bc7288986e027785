// SPDX-License-Identifier: MIT
// A callable that is passed to a function, which does not keep it. Two words; allocates nothing. The object that it
// refers to, for example a lambda in the caller's expression, must live as long as the call.
#pragma once
#include <type_traits>
#include <utility>

namespace lib {

template <class Signature>
class FunctionRef;

template <class R, class... A>
class FunctionRef<R(A...)> {
public:
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef> && std::is_invocable_r_v<R, F&, A...>)
    FunctionRef(F&& callable)
        : object_(const_cast<void*>(static_cast<const volatile void*>(__builtin_addressof(callable)))),
          call_([](void* object, A... arguments) -> R {
              return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<A>(arguments)...);
          }) {}
    R operator()(A... arguments) const { return call_(object_, std::forward<A>(arguments)...); }

private:
    void* object_;
    R (*call_)(void* object, A... arguments);
};

}  // namespace lib
