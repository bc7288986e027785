# SPDX-License-Identifier: MIT
# Programs of the native interface: each is the first program of a machine without Linux. One source file each, over
# sysapi/: examples/, tests/native/, tests/native_end/, tests/random/, bench/native/. A folder's *_part.cpp files are linked to every
# program there.
farcall_sources(NATIVE_RUNTIME lib lib/bare/x86_64 sysapi)

# Arguments after the folder: additional options. The threads of a benchmark do not use the FPU, so that only the kernel
# is measured.
function(native_programs FOLDER)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${FOLDER}/*.cpp)
  file(GLOB parts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${FOLDER}/*_part.cpp)
  foreach(source IN LISTS sources)
    if(source IN_LIST parts)
      continue()
    endif()
    get_filename_component(name ${source} NAME_WE)
    string(REPLACE "/" "_" prefix ${FOLDER})
    set(target ${prefix}_${name})
    add_executable(${target} ${source} ${parts} ${NATIVE_RUNTIME})
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
    target_compile_options(${target} PRIVATE ${FARCALL_BARE_FLAGS} ${FARCALL_WARNINGS} -O2 -mno-red-zone
      -fno-omit-frame-pointer ${ARGN})
    target_link_options(${target} PRIVATE -nostdlib -static -no-pie -fuse-ld=lld -Wl,--gc-sections
      -Wl,-z,max-page-size=4096 -Wl,-z,separate-loadable-segments -Wl,--image-base=0x400000 -Wl,--build-id=none)
    set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/${FOLDER})
  endforeach()
endfunction()

native_programs(examples)
native_programs(tests/native)
native_programs(tests/native_end)
native_programs(tests/random)
native_programs(bench/native -mno-sse -mno-mmx -mno-avx)
