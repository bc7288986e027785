# SPDX-License-Identifier: MIT
# The kernel image: hal/x86_64, the runtime, the core, the Linux personality over port/kernel.
farcall_sources(KERNEL_SOURCES
  lib lib/bare/x86_64 hal/x86_64 rt rt/mem core core/cap core/ipc core/server port/kernel elf drivers fs linux linux/arch/x86_64 linux/mm linux/sys boot/kernel tests/kernel)
include(cmake/vdso.cmake)
add_executable(farcall.elf ${KERNEL_SOURCES} ${VDSO_IMAGE})
target_include_directories(farcall.elf PRIVATE ${CMAKE_SOURCE_DIR}
  ${CMAKE_SOURCE_DIR}/hal/x86_64/include ${CMAKE_SOURCE_DIR}/port/kernel/include ${CMAKE_SOURCE_DIR}/linux/arch/x86_64/include)
target_compile_options(farcall.elf PRIVATE ${FARCALL_BARE_FLAGS} ${FARCALL_WARNINGS}
  -O2 -mcmodel=kernel -mno-red-zone -mno-sse -mno-sse2 -mno-mmx -mno-avx -fno-omit-frame-pointer -momit-leaf-frame-pointer)
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(farcall.elf PRIVATE FARCALL_DEBUG=1)
endif()
target_link_options(farcall.elf PRIVATE -nostdlib -static -no-pie -fuse-ld=lld
  -Wl,-T,${CMAKE_SOURCE_DIR}/hal/x86_64/kernel.ld -Wl,--gc-sections -Wl,-z,max-page-size=4096 -Wl,--build-id=none)
set_target_properties(farcall.elf PROPERTIES LINK_DEPENDS ${CMAKE_SOURCE_DIR}/hal/x86_64/kernel.ld)

# The leaf tier (DESIGN: three tiers of a trap) is counted in single instructions: in release builds its functions keep no
# frame pointer of their own. The chain stays whole: a backtrace only leaves these frames out. Debug builds show them all.
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  farcall_sources(HOT_SOURCES linux/sys linux/mm fs rt/mem core/ipc)
  list(APPEND HOT_SOURCES ${CMAKE_SOURCE_DIR}/core/trap.cpp ${CMAKE_SOURCE_DIR}/port/kernel/user_thread.cpp
    ${CMAKE_SOURCE_DIR}/linux/personality.cpp)
  set_source_files_properties(${HOT_SOURCES} PROPERTIES COMPILE_OPTIONS -fomit-frame-pointer)
endif()

# A check that is switched off for a test (core/checks.hpp) lets a null pointer through: that must fault, not be undefined.
set_property(SOURCE ${CMAKE_SOURCE_DIR}/core/ipc/calls.cpp ${CMAKE_SOURCE_DIR}/core/cap/cap.cpp
  APPEND PROPERTY COMPILE_OPTIONS -fno-delete-null-pointer-checks)
