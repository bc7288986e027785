# SPDX-License-Identifier: MIT
# The kernel image: hal/x86_64, the runtime, the core, the Linux personality over port/kernel. There are two:
#   farcall.elf        the shipped kernel (release builds)
#   farcall-test.elf   with tests and hooks for tests (tests/kernel); the only one in debug builds
# They share all objects except those of the core, whose checks the test kernel can switch off: the include path selects
# core/switched_off.hpp.
farcall_sources(SHARED_SOURCES
  lib lib/bare/x86_64 hal/x86_64 rt rt/mem rt/remote port/kernel elf drivers fs linux linux/arch/x86_64 linux/exec linux/mm linux/procfs linux/signal linux/sys linux/task)
farcall_sources(CHECKED_SOURCES core core/cap core/ipc core/server boot/kernel)
farcall_sources(SHIPPED_SOURCES boot/shipped)
farcall_sources(TEST_SOURCES tests/kernel)
include(cmake/vdso.cmake)

add_library(kernel_options INTERFACE)
target_include_directories(kernel_options INTERFACE ${CMAKE_SOURCE_DIR}
  ${CMAKE_SOURCE_DIR}/hal/x86_64/include ${CMAKE_SOURCE_DIR}/port/kernel/include ${CMAKE_SOURCE_DIR}/linux/arch/x86_64/include)
target_compile_options(kernel_options INTERFACE ${FARCALL_BARE_FLAGS} ${FARCALL_WARNINGS}
  -O2 -mcmodel=kernel -mno-red-zone -mno-sse -mno-sse2 -mno-mmx -mno-avx -fno-omit-frame-pointer -momit-leaf-frame-pointer)
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(kernel_options INTERFACE FARCALL_DEBUG=1)
endif()

add_library(kernel_shared OBJECT ${SHARED_SOURCES} ${VDSO_IMAGE})
target_link_libraries(kernel_shared PRIVATE kernel_options)
farcall_precompile(kernel_shared)

function(kernel_image NAME BINDING)
  add_executable(${NAME} ${CHECKED_SOURCES} ${ARGN})
  target_include_directories(${NAME} PRIVATE ${CMAKE_SOURCE_DIR}/${BINDING})
  target_link_libraries(${NAME} PRIVATE kernel_options kernel_shared)
  farcall_precompile(${NAME})
  target_link_options(${NAME} PRIVATE -nostdlib -static -no-pie -fuse-ld=lld
    -Wl,-T,${CMAKE_SOURCE_DIR}/hal/x86_64/kernel.ld -Wl,--gc-sections -Wl,-z,max-page-size=4096 -Wl,--build-id=none)
  set_target_properties(${NAME} PROPERTIES LINK_DEPENDS ${CMAKE_SOURCE_DIR}/hal/x86_64/kernel.ld)
endfunction()
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  kernel_image(farcall.elf core/include ${SHIPPED_SOURCES})
endif()
kernel_image(farcall-test.elf tests/kernel/include ${TEST_SOURCES})
# A check that is switched off may let a null pointer through: using it must fault, not be undefined behaviour.
target_compile_options(farcall-test.elf PRIVATE -fno-delete-null-pointer-checks)

# The leaf tier (docs/architecture.md, section 6) is counted in single instructions, so in release builds its functions
# keep no frame pointer. The chain of frames stays intact; a backtrace only omits these functions. Debug builds show
# them all.
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  farcall_sources(HOT_SOURCES linux/sys linux/mm fs rt/mem core/ipc)
  list(APPEND HOT_SOURCES ${CMAKE_SOURCE_DIR}/core/trap.cpp ${CMAKE_SOURCE_DIR}/port/kernel/user_thread.cpp
    ${CMAKE_SOURCE_DIR}/port/kernel/trap.cpp ${CMAKE_SOURCE_DIR}/port/kernel/remote_home.cpp ${CMAKE_SOURCE_DIR}/port/kernel/remote_serve.cpp
    ${CMAKE_SOURCE_DIR}/linux/personality.cpp)
  set_source_files_properties(${HOT_SOURCES} PROPERTIES COMPILE_OPTIONS -fomit-frame-pointer)
endif()
