export const profileText = () => "";
